/* Blocks one after the other; the threads of a block as fibers, stacks between which one thread of
 * the CPU switches at barriers and at meetings of a warp. A thread that meets nobody runs through
 * on the stack of the one before it. */
#include <sys/mman.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <numeric>
#include <random>
#include <vector>

#include "faults.h"
#include "race.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace emulator
{

namespace
{

enum State : unsigned char { FRESH, READY, AT_WARP, AT_BLOCK, DONE };

struct Copy {
    void *to;
    const void *from;
};

struct Group {
    std::vector<Copy> copies;
    uint32_t race; /* its number there */
};

struct Fiber {
    void *sp;    /* where it goes on */
    char *stack; /* lowest address; NULL: not started */
    State state;
    bool waited; /* for the kernels before its own, see wait_for_earlier */
    Site site;   /* where it waits */
    uint3 index;
    std::vector<Group> copies; /* of cp.async; the last group is open */
};

struct Warp {
    int arrived;
    Site site;
    void *brought[WARP_LANES];
};

enum { STACK = 256 << 10, PAGE = 4096 };

/* The order in which threads, warps and blocks run: what is right must not depend on it. */
enum class Order { FORWARD, REVERSE, RANDOM };

struct Engine {
    const Kernel *kernel = nullptr; /* NULL: none runs */
    std::vector<Fiber> fibers;      /* of the block, by thread */
    std::vector<Warp> warps;
    std::vector<char *> stacks; /* free ones */
    std::vector<int> warp_order, lane_order;
    int current = -1; /* the fiber that runs */
    int left = 0;     /* threads not done */
    int counted = 0;  /* threads that came to the barrier with true, and of the last barrier */
    int last_count = 0;
    void *scheduler_sp = nullptr;
    Order order = Order::FORWARD;
    std::minstd_rand random;
} engine;

/* Puts the registers that a call preserves on this stack, goes to the other stack and takes its
 * registers from there. */
extern "C" void emulator_switch(void **save_sp, void *load_sp)
    __attribute__((visibility("hidden")));

#ifdef __x86_64__
asm(R"(
    .text
    .globl emulator_switch
    .hidden emulator_switch
    .type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulator_switch, . - emulator_switch
)");
enum { SAVED_WORDS = 7, RETURN_WORD = 6, BELOW_TOP = 1 };
#elif defined __aarch64__
asm(R"(
    .text
    .globl emulator_switch
    .hidden emulator_switch
    .type emulator_switch, %function
emulator_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size emulator_switch, . - emulator_switch
)");
enum { SAVED_WORDS = 20, RETURN_WORD = 11, BELOW_TOP = 0 };
#else
#error "the emulator switches stacks on x86-64 and AArch64 only"
#endif

/* Whether the kernel before may still be at work, for all that this thread knows. */
bool too_early()
{
    return engine.kernel->early && !engine.fibers[engine.current].waited;
}

void yield()
{
    emulator_switch(&engine.fibers[engine.current].sp, engine.scheduler_sp);
}

void fiber_main()
{
    engine.kernel->body();
    if (too_early())
        die("it was started with launch_early, and a thread has not called wait_for_earlier");
    engine.fibers[engine.current].state = DONE;
    yield(); /* never comes back */
    abort();
}

char *new_stack()
{
    if (!engine.stacks.empty()) {
        char *stack = engine.stacks.back();
        engine.stacks.pop_back();
        return stack;
    }
    void *p =
        mmap(nullptr, STACK + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p, PAGE, PROT_NONE) != 0) die("no memory for a stack");
    return static_cast<char *>(p);
}

void start_fiber(Fiber &f)
{
    f.stack = new_stack();
    auto *top = reinterpret_cast<void **>(f.stack + PAGE + STACK) - BELOW_TOP;
    if (BELOW_TOP)
        *top = nullptr; /* fiber_main returns to nowhere, at a stack aligned as a call's */
    void **frame = top - SAVED_WORDS;
    std::fill(frame, top, nullptr);
    frame[RETURN_WORD] = reinterpret_cast<void *>(fiber_main);
    f.sp = frame;
}

void resume(int thread)
{
    Fiber &f = engine.fibers[thread];
    if (f.state == FRESH) start_fiber(f);
    f.state = READY;
    engine.current = thread;
    threadIdx = f.index;
    race::switched(thread, f.stack + PAGE, STACK);
    race::current.early = too_early();
    emulator_switch(&engine.scheduler_sp, f.sp);
    race::switched(-1, nullptr, 0);
    race::current.early = false;
    if (f.state == DONE) {
        engine.left--;
        engine.stacks.push_back(f.stack);
        f.stack = nullptr;
    }
    engine.current = -1;
}

std::string where(int thread)
{
    const Fiber &f = engine.fibers[thread];
    char text[512];
    if (f.state == DONE)
        snprintf(text, sizeof text, "thread %d has ended", thread);
    else
        snprintf(text, sizeof text, "thread %d waits at %s (%s:%d)", thread, f.site.what,
                 f.site.file, f.site.line);
    return text;
}

bool same_text(const char *a, const char *b)
{
    return a == b || strcmp(a, b) == 0;
}

bool same(const Site &a, const Site &b)
{
    return a.line == b.line && same_text(a.what, b.what) && same_text(a.file, b.file);
}

/* Runs a warp until all of its lanes are done or wait for the block. */
void run_warp(int warp)
{
    int first = warp * WARP_LANES, stuck = -1, other = -1;
    for (bool again = true; again;) {
        again = false;
        for (int lane : engine.lane_order) {
            if (engine.fibers[first + lane].state > READY) continue;
            resume(first + lane);
            again = true;
        }
    }
    for (int i = first; i < first + WARP_LANES; i++)
        (engine.fibers[i].state == AT_WARP ? stuck : other) = i;
    if (stuck >= 0)
        die("not all lanes of a warp come together: %s, %s", where(stuck).c_str(),
            where(other).c_str());
}

void pass_barrier()
{
    const Fiber &first = engine.fibers[0];
    for (size_t i = 0; i < engine.fibers.size(); i++) {
        const Fiber &f = engine.fibers[i];
        if (f.state != AT_BLOCK || first.state != AT_BLOCK || !same(f.site, first.site))
            die("not all threads of a block come together: %s, %s", where(0).c_str(),
                where((int)i).c_str());
    }
    for (Fiber &f : engine.fibers) f.state = READY;
    race::block_met();
    engine.last_count = engine.counted;
    engine.counted = 0;
}

void reset_block()
{
    for (size_t i = 0; i < engine.fibers.size(); i++) {
        unsigned t = (unsigned)i;
        Fiber &f = engine.fibers[i];
        f.state = FRESH;
        f.waited = false;
        f.index = {t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y};
        f.copies.clear();
    }
    for (Warp &w : engine.warps) w.arrived = 0;
    engine.left = (int)engine.fibers.size();
    if (engine.order == Order::RANDOM) {
        std::shuffle(engine.warp_order.begin(), engine.warp_order.end(), engine.random);
        std::shuffle(engine.lane_order.begin(), engine.lane_order.end(), engine.random);
    }
    poison_shared(engine.kernel->shared);
    race::block_begins(engine.fibers.size());
}

void run_block()
{
    reset_block();
    for (;;) {
        for (int warp : engine.warp_order) run_warp(warp);
        if (!engine.left) break;
        pass_barrier();
    }
    for (const Fiber &f : engine.fibers)
        for (const auto &group : f.copies)
            if (!group.copies.empty()) die("a thread has ended before its copies (cp.async) came");
}

void choose_order()
{
    const char *order = getenv("TTT_EMULATOR_ORDER");
    if (!order || strcmp(order, "forward") == 0) return;
    engine.order = strcmp(order, "reverse") == 0 ? Order::REVERSE : Order::RANDOM;
    engine.random.seed((unsigned)strtoul(order, nullptr, 10));
}

std::vector<int> numbers(size_t n)
{
    std::vector<int> all(n);
    std::iota(all.begin(), all.end(), 0);
    if (engine.order == Order::REVERSE) std::reverse(all.begin(), all.end());
    return all;
}

} // namespace

std::string name_of(const char *arguments)
{
    int depth = 0;
    const char *from = nullptr, *p = arguments;
    for (; *p; p++) {
        if (strchr("(<[", *p)) depth++;
        if (strchr(")>]", *p)) depth--;
        if (*p != ',' || depth != 0) continue;
        if (from) break;
        from = p + 1 + (p[1] == ' ');
    }
    return from ? std::string(from, p) : std::string(arguments);
}

std::string running_kernel()
{
    if (!engine.kernel) return "";
    const Kernel &k = *engine.kernel;
    return "kernel " + name_of(k.arguments) + " (" + k.file + ":" + std::to_string(k.line) + ")";
}

std::string running()
{
    if (!engine.kernel) return "";
    char place[256];
    uint3 t = engine.current >= 0 ? engine.fibers[engine.current].index : uint3{};
    snprintf(place, sizeof place, ", block (%u, %u, %u)", blockIdx.x, blockIdx.y, blockIdx.z);
    std::string text = running_kernel() + place;
    snprintf(place, sizeof place, ", thread (%u, %u, %u)", t.x, t.y, t.z);
    return engine.current >= 0 ? text + place : text;
}

void die(const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    std::string at = running();
    fprintf(stderr, "emulator: %s%s%s\n", at.c_str(), at.empty() ? "" : ": ", text);
    abort();
}

void check_launch(const Kernel &k)
{
    std::string name = name_of(k.arguments);
    size_t threads = (size_t)k.block.x * k.block.y * k.block.z;
    const char *wrong = nullptr;
    if (threads == 0 || threads > MAX_THREADS || k.block.z > 64)
        wrong = "a block has 1 to 1024 threads, at most 64 along z";
    else if (threads % WARP_LANES)
        wrong = "the threads of a block are whole warps of 32, the project's rule";
    else if (k.grid.x > 0x7fffffff || k.grid.y > 65535 || k.grid.z > 65535)
        wrong = "a grid has at most 2^31 - 1 blocks along x, 65535 along y and z";
    else if (k.shared > shared_limit())
        wrong = "a block has at most 227 KB of shared memory, or what `shared` allows";
    if (wrong)
        die("launch of %s (%s:%d) with grid (%u, %u, %u), block (%u, %u, %u), %zu bytes: %s",
            name.c_str(), k.file, k.line, k.grid.x, k.grid.y, k.grid.z, k.block.x, k.block.y,
            k.block.z, k.shared, wrong);
}

void run_kernel(const Kernel &k)
{
    static const bool once = (choose_order(), true);
    (void)once;
    size_t threads = (size_t)k.block.x * k.block.y * k.block.z;
    size_t blocks = (size_t)k.grid.x * k.grid.y * k.grid.z;
    engine.kernel = &k;
    find_shared();
    race::kernel_begins();
    engine.fibers.resize(threads);
    engine.warps.resize(threads / WARP_LANES);
    engine.warp_order = numbers(threads / WARP_LANES);
    engine.lane_order = numbers(WARP_LANES);
    blockDim = k.block;
    gridDim = k.grid;
    size_t turn = engine.order == Order::RANDOM ? engine.random() % blocks : 0;
    for (size_t i = 0; i < blocks; i++) {
        size_t b = engine.order == Order::REVERSE ? blocks - 1 - i : (i + turn) % blocks;
        blockIdx = {(unsigned)(b % k.grid.x), (unsigned)(b / k.grid.x % k.grid.y),
                    (unsigned)(b / k.grid.x / k.grid.y)};
        run_block();
    }
    check_edges(name_of(k.arguments).c_str());
    engine.kernel = nullptr;
}

void block_barrier(const Site &site)
{
    Fiber &f = engine.fibers[engine.current];
    f.state = AT_BLOCK;
    f.site = site;
    yield();
}

int block_count(const Site &site, bool predicate)
{
    engine.counted += predicate;
    block_barrier(site);
    return engine.last_count;
}

int lane()
{
    return engine.current % WARP_LANES;
}

void collective(const Site &site, void *mine, void (*op)(void *const *lanes))
{
    int first = engine.current - lane();
    Fiber &f = engine.fibers[engine.current];
    Warp &w = engine.warps[engine.current / WARP_LANES];
    f.site = site;
    w.brought[lane()] = mine;
    if (w.arrived++ == 0) w.site = site;
    if (!same(w.site, site))
        die("lanes of one warp meet at %s (%s:%d) and at %s (%s:%d)", w.site.what, w.site.file,
            w.site.line, site.what, site.file, site.line);
    if (w.arrived < WARP_LANES) {
        f.state = AT_WARP;
        yield();
        return;
    }
    w.arrived = 0;
    if (op)
        op(w.brought);
    else
        race::warp_met(engine.current / WARP_LANES);
    for (int i = 0; i < WARP_LANES; i++) engine.fibers[first + i].state = READY;
}

void wait_for_earlier()
{
    engine.fibers[engine.current].waited = true;
    race::current.early = false;
}

void ask_for(const void *p)
{
    if (place_of(p).kind == Kind::HOST) die("a prefetch at %p, outside all device memory", p);
}

void copy_later(void *to, const void *from, bool there)
{
    if ((uintptr_t)to % 16 || !is_shared(to))
        die("cp.async to %p: not 16-byte aligned shared memory", to);
    if (there && ((uintptr_t)from % 16 || place_of(from).kind == Kind::HOST))
        die("cp.async from %p: not 16-byte aligned device memory", from);
    if (there && too_early()) die("cp.async before wait_for_earlier");
    auto &groups = engine.fibers[engine.current].copies;
    if (groups.empty()) groups.emplace_back();
    Group &open = groups.back();
    open.race =
        race::copy_begins(open.race, to, there ? from : nullptr, __builtin_return_address(0));
    open.copies.push_back({to, there ? from : nullptr});
    memset(to, 0xff, 16);
}

void copy_close_group()
{
    auto &groups = engine.fibers[engine.current].copies;
    if (groups.empty()) groups.emplace_back();
    groups.emplace_back();
}

void copy_wait(int groups_left)
{
    auto &groups = engine.fibers[engine.current].copies;
    while ((int)groups.size() - 1 > groups_left) {
        race::copies_end(groups.front().race);
        for (const Copy &c : groups.front().copies) {
            if (c.from)
                memcpy(c.to, c.from, 16);
            else
                memset(c.to, 0, 16);
        }
        groups.erase(groups.begin());
    }
}

} // namespace emulator
