/* Versions of the libraries of this folder. */
#include "backend/libraries.h"

#include <cblas.h>
#include <stdio.h>
#include <string.h>

#ifdef HAVE_DNNL
#include <oneapi/dnnl/dnnl.h>
#endif

void backend_libraries(char *out, size_t size)
{
    int used = 0;
    out[0] = '\0';
#ifdef HAVE_DNNL
    const dnnl_version_t *v = dnnl_version();
    used = snprintf(out, size, "oneDNN %d.%d.%d, ", v->major, v->minor, v->patch);
#endif
    if (used >= 0 && (size_t)used < size)
        snprintf(out + used, size - (size_t)used, "%s", openblas_get_config());
}
