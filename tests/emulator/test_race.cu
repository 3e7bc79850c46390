/* The detection of data races (race.h): kernels that race, each in a way of its own, end the
 * program with a line that says where, in whichever order threads come; kernels that nearly do, do
 * not. */
#include <initializer_list>
#include <string>

#include "bare_backend.cuh"
#include "race_kernels.cuh"

/* ------------------------------------------------------------------------------ runs of them */

typedef void (*Kernel)(float *, const float *);

enum { LAUNCH_LINE = __LINE__ + 4 };
static void start(Kernel kernel, int launches, float *x, float *y)
{
    Backend *be = nullptr;
    for (int i = 0; i < launches; i++) launch(be, kernel, BLOCKS, THREADS, SHARED, x, y);
}

static void run_once(Kernel kernel, int launches)
{
    float *x = nullptr, *y = nullptr;
    assert_int_equal(cudaMalloc(&x, 4096), 0);
    assert_int_equal(cudaMalloc(&y, 4096), 0);
    cudaMemset(x, 0, 4096);
    cudaMemset(y, 0, 4096);
    start(kernel, launches, x, y);
    assert_int_equal(cudaDeviceSynchronize(), 0);
    cudaFree(x);
    cudaFree(y);
}

static std::string said_of(Kernel kernel, const char *order, int *status)
{
    auto run = [=] {
        setenv("TTT_EMULATOR_ORDER", order, 1);
        run_once(kernel, 2);
    };
    return said_by(run, status);
}

static const char *const orders[] = {"forward", "reverse", "1", "2"};

/* words: of the memory and of the two accesses. */
static void races(const char *name, Kernel kernel, std::initializer_list<const char *> words)
{
    for (const char *order : orders) {
        int status;
        std::string said = said_of(kernel, order, &status);
        if (!WIFSIGNALED(status) || said.find(": race at byte") == std::string::npos)
            fail_msg("%s, order %s: status %x, no race in: %s", name, order, status, said.c_str());
        for (const char *w : words)
            if (said.find(w) == std::string::npos)
                fail_msg("%s, order %s: no '%s' in: %s", name, order, w, said.c_str());
    }
}

static void does_not(const char *name, Kernel kernel)
{
    for (const char *order : orders) {
        int status;
        std::string said = said_of(kernel, order, &status);
        if (status != 0) fail_msg("%s, order %s: %s", name, order, said.c_str());
    }
}
#define RACES(kernel, ...) races(#kernel, kernel, {__VA_ARGS__})
#define DOES_NOT(kernel)   does_not(#kernel, kernel)

static void test_block(void **)
{
    std::string launched = "test_race.cu:" + std::to_string(LAUNCH_LINE) + ")";
    RACES(no_barrier, "kernel kernel (", "static shared memory", "a write of thread",
          "a read of thread", launched.c_str());
    RACES(read_before_write, "static shared memory");
    RACES(last_reader, "thread (40, 0, 0) of block", "byte 0 of dynamic shared memory");
    RACES(same_value, "byte 20 of dynamic shared memory", "a write of thread");
    RACES(one_half_of_a_word, "byte 6 of dynamic shared memory", "thread (40, 0, 0)");
    RACES(within_a_vector, "dynamic shared memory");
    RACES(structures, "static shared memory");
    RACES(returned, "dynamic shared memory", "a write of thread");
    RACES(copied, "dynamic shared memory");
    RACES(cleared, "dynamic shared memory");
    DOES_NOT(barrier);
    DOES_NOT(barrier_by_count);
    DOES_NOT(parts_of_words);
    DOES_NOT(block_after_block);
}

static void test_warp(void **)
{
    RACES(shuffle_is_no_barrier, "dynamic shared memory");
    RACES(ballot_is_no_barrier, "dynamic shared memory");
    RACES(mma_is_no_barrier, "dynamic shared memory");
    RACES(other_warp, "dynamic shared memory");
    DOES_NOT(warp_barrier);
}

static void test_grid(void **)
{
    RACES(one_place, "byte 28 of 4096 bytes of device memory",
          "a write of thread (0, 0, 0) of block");
    RACES(next_block, "4096 bytes of device memory", "a write of", "a read of");
    RACES(written_at_last, "byte 0 of 4096 bytes of device memory",
          "thread (63, 0, 0) of block (2");
    RACES(within_global_no_barrier, "4096 bytes of device memory");
    DOES_NOT(in_place);
    DOES_NOT(within_global);
}

static void test_atomics(void **)
{
    RACES(counted_and_read, "byte 0 of 4096", "an atomic of", "a read of");
    RACES(unpublished, "4096 bytes of device memory");
    RACES(unseen, "4096 bytes of device memory");
    RACES(written_after_the_fence, "4096 bytes of device memory");
    DOES_NOT(counted);
    DOES_NOT(published);
    DOES_NOT(published_by_all);
}

static void test_copies(void **)
{
    RACES(copy_without_barrier, "cp.async of thread", "with nothing between that orders them");
    RACES(copy_not_waited, "cp.async of thread", "which has not been waited for");
    RACES(copy_of_its_own, "which has not been waited for");
    RACES(copy_waited_by_another, "cp.async of thread (0, 0, 0)", "which has not been waited for");
    RACES(copy_over_readers, "cp.async of thread", "a read of thread");
    RACES(copy_twice, "byte 0 of dynamic shared memory", "cp.async of thread (0, 0, 0)");
    RACES(copy_of_what_changes, "device memory", "thread (40, 0, 0)", "cp.async of thread (0, 0");
    DOES_NOT(copy_waited);
    DOES_NOT(copy_stages);
}

static void test_matrices(void **)
{
    RACES(matrix_not_synced, "a read of thread", "a write of thread");
    RACES(matrix_not_synced_trans, "a read of thread", "a write of thread");
    RACES(matrix_overwritten, "a read of thread", "a write of thread");
    DOES_NOT(matrix_synced);
}

/* Where this thread writes, before or after the kernel before is known to be done. */
__global__ void early(float *x, bool waits_first)
{
    float *shared = dynamic_shared<float>();
    shared[threadIdx.x] = 1;
    if (waits_first) wait_for_earlier();
    x[threadIdx.x] = shared[threadIdx.x];
    if (!waits_first) wait_for_earlier();
}

static void start_early(bool waits_first)
{
    float *x = nullptr;
    Backend *be = nullptr;
    assert_int_equal(cudaMalloc(&x, THREADS * sizeof *x), 0);
    launch_early(be, early, 1, THREADS, SHARED, x, waits_first);
    assert_int_equal(cudaDeviceSynchronize(), 0);
    cudaFree(x);
}

static void test_early(void **)
{
    int status;
    std::string said = said_by([] { start_early(false); }, &status);
    assert_true(WIFSIGNALED(status));
    assert_true(said.find("device memory is touched before wait_for_earlier, at") != said.npos);
    assert_true(said.find("test_race.cu:") != said.npos);
    said = said_by([] { start_early(true); }, &status);
    if (status != 0) fail_msg("%s", said.c_str());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_block),  cmocka_unit_test(test_warp),
        cmocka_unit_test(test_grid),   cmocka_unit_test(test_atomics),
        cmocka_unit_test(test_copies), cmocka_unit_test(test_matrices),
        cmocka_unit_test(test_early),
    };
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
