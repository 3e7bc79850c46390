/* Versions of the libraries of this folder. */
#include "backend/libraries.h"

#include <stdio.h>
#include <string.h>

#ifdef HAVE_DNNL
#include <oneapi/dnnl/dnnl.h>
#endif
#ifdef HAVE_OPENBLAS
#include <cblas.h>
#endif

void backend_libraries(char *out, size_t size)
{
    out[0] = '\0';
#ifdef HAVE_DNNL
    const dnnl_version_t *v = dnnl_version();
    snprintf(out, size, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
#endif
#ifdef HAVE_OPENBLAS
    size_t used = strlen(out);
    snprintf(out + used, size - used, "%s%s", used ? ", " : "", openblas_get_config());
#endif
}
