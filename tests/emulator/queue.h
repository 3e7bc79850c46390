/* What the files of the runtime interface share. */
#ifndef EMULATOR_QUEUE_H
#define EMULATOR_QUEUE_H

#include <mutex>

#include "faults.h"
#include "state.h"

namespace emulator
{

/* Held by every call that changes or runs something. */
struct Lock {
    Lock();
    ~Lock();
};

/* Notes an error for cudaGetLastError, and returns it. */
cudaError_t fail(cudaError_t error);
/* The last error; it is forgotten where the device still works. */
cudaError_t take_last();
cudaError_t last();
/* What every call but those about versions and errors begins with: the device is there. */
cudaError_t usable();
bool capturing(cudaStream_t stream); /* NULL: the default stream */
/* What no capture may hold (waiting, taking and giving memory): where a stream captures, it ends in
 * an error, and so does this call. */
cudaError_t not_captured();
/* Does all that was put into streams. A device that is lost does nothing more. */
cudaError_t finish();
/* finish, as a wait: not while a stream captures. */
cudaError_t wait_for_all();

} // namespace emulator

#endif
