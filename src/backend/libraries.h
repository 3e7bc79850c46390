/* The libraries that products run through, with their versions, for the record of a run. */
#ifndef TTT_BACKEND_LIBRARIES_H
#define TTT_BACKEND_LIBRARIES_H

#include <stddef.h>

/* "oneDNN 2.6.3, OpenBLAS 0.3.21 ..." */
void backend_libraries(char *out, size_t size);

#endif
