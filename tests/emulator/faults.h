/* Faults on demand: the environment variable TTT_EMULATOR_FAIL holds some of these, with commas
 * between:
 *   driver       there is no driver            old-driver  one for CUDA 12.0, too old
 *   device       a driver and no device        memory:MB   the device has so much memory
 *   malloc:N     the Nth allocation finds no memory, nor does any after it
 *   launch:N     the Nth launch of a kernel is refused
 *   sync:N       at the Nth wait the device is lost: every call from then on fails
 *   capture:N    the Nth capture of a stream, and each after it, ends in an error
 *   algorithm    cuBLASLt has none for any product
 *   late-reads   copies read the host's memory when their turn comes, as where GPUs read it in
 * place shared:KB    a block has at most so much shared memory (99 on consumer GPUs) */
#ifndef EMULATOR_FAULTS_H
#define EMULATOR_FAULTS_H

#include <cuda_runtime.h>

namespace emulator
{

enum class Fault { MALLOC, LAUNCH, SYNC, CAPTURE };

/* Counts a call of this kind; true where it is to fail. */
bool fault_due(Fault fault);
cudaError_t device_missing(); /* cudaSuccess: it is there */
int driver_version();
size_t memory_limit(); /* bytes */
size_t shared_limit(); /* bytes, of a block */
bool algorithms_missing();
bool reads_late();

} // namespace emulator

#endif
