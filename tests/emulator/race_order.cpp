/* Which of two accesses comes first on every GPU. All barriers are of whole blocks and whole warps,
 * so that counts of them take the place of vector clocks; only what fences and atomics publish is
 * kept thread by thread. */
#include <map>
#include <vector>

#include "race.h"

namespace emulator
{
namespace race
{

Current current = {false, -1,      nullptr, nullptr, 0,     0,    0,
                   0,     nullptr, nullptr, nullptr, false, false};

namespace
{

/* What of other threads is known: by block and thread, all before that moment. */
using Views = std::map<uint64_t, Moment>;
uint64_t key_of(uint32_t block, uint32_t thread)
{
    return (uint64_t)block << 32 | thread;
}

struct Publishing {
    Views known;   /* comes before all that follows */
    Views offered; /* by the last fence, to whoever reads what an atomic writes */
    Views read;    /* by atomics, until a fence makes it known */
};

struct Order {
    uint64_t tick = 0;
    std::vector<uint32_t> warp_epoch, now;
    std::vector<Moment> moments;
    std::map<uint32_t, uint3> blocks; /* of this launch */
    std::vector<Publishing> threads;
    Publishing all; /* what every thread of the block shares since its last barrier */
    std::map<uintptr_t, Views> offers; /* by atomics, by word */
} order;

int warp_of(int thread)
{
    return thread / WARP_LANES;
}

Moment fresh(int thread)
{
    return {current.block,
            current.block_epoch,
            order.warp_epoch[(size_t)warp_of(thread)],
            (uint16_t)thread,
            false,
            false,
            ++order.tick};
}

void add(Views &to, const Views &from)
{
    for (const auto &[key, view] : from) {
        Moment &there = to[key];
        if (there.tick < view.tick) there = view;
    }
}

void add(Publishing &to, const Publishing &from)
{
    add(to.known, from.known);
    add(to.offered, from.offered);
}

/* Whether a view, taken at a fence, holds what was done at m. */
bool holds(const Moment &view, const Moment &m)
{
    if (view.block != m.block) return false;
    if (view.thread == m.thread) return m.tick < view.tick;
    if (m.block_epoch < view.block_epoch) return true;
    return warp_of(view.thread) == warp_of(m.thread) && m.warp_epoch < view.warp_epoch;
}

bool holds(const Views &views, const Moment &m)
{
    for (auto at = views.lower_bound(key_of(m.block, 0)); at != views.end(); ++at) {
        if (at->second.block != m.block) return false;
        if (holds(at->second, m)) return true;
    }
    return false;
}

} // namespace

void kernel_begins()
{
    if (!current.on) return;
    current.launch++;
    current.publishes = false;
    order.moments.assign(1, Moment{});
    current.moments = order.moments.data();
    order.blocks.clear();
    order.offers.clear();
}

void block_begins(size_t threads)
{
    if (!current.on) return;
    order.blocks[++current.block] = blockIdx;
    current.block_epoch = 0;
    current.era++;
    order.warp_epoch.assign(threads / WARP_LANES, 0);
    order.now.assign(threads, 0);
    current.warp_epoch = order.warp_epoch.data();
    current.now = order.now.data();
    order.threads.assign(threads, {});
    order.all = {};
}

void switched(int thread, const char *stack, size_t bytes)
{
    if (!current.on) return;
    current.thread = thread;
    current.stack = stack;
    current.stack_end = stack + bytes;
}

void block_met()
{
    if (!current.on) return;
    current.block_epoch++;
    current.era++;
    std::fill(order.now.begin(), order.now.end(), 0);
    if (!current.publishes) return;
    for (Publishing &p : order.threads) {
        add(order.all, p);
        p.known.clear();
        p.offered.clear();
    }
}

void warp_met(int warp)
{
    if (!current.on) return;
    order.warp_epoch[(size_t)warp]++;
    size_t first = (size_t)warp * WARP_LANES;
    std::fill_n(order.now.begin() + (ptrdiff_t)first, WARP_LANES, 0);
    if (!current.publishes) return;
    Publishing both;
    for (size_t i = first; i < first + WARP_LANES; i++) add(both, order.threads[i]);
    for (size_t i = first; i < first + WARP_LANES; i++) add(order.threads[i], both);
}

uint32_t new_moment(int thread)
{
    order.moments.push_back(fresh(thread));
    current.moments = order.moments.data();
    return current.now[thread] = (uint32_t)order.moments.size() - 1;
}

bool published(const Moment &m, int thread)
{
    return holds(order.all.known, m) || holds(order.threads[(size_t)thread].known, m);
}

uint32_t copy_begins(uint32_t group, void *to, const void *from, const void *place)
{
    if (!current.on) return 0;
    if (!group) {
        Moment m = fresh(current.thread);
        m.copy = m.pending = true;
        group = (uint32_t)order.moments.size();
        order.moments.push_back(m);
        current.moments = order.moments.data();
    }
    if (from) touch(Access::READ, from, 16, current.thread, group, place);
    touch(Access::WRITE, to, 16, current.thread, group, place);
    return group;
}

/* From here on as if the thread itself had done it just now. */
void copies_end(uint32_t group)
{
    if (!group) return;
    Moment m = fresh(current.thread);
    m.copy = true;
    order.moments[group] = m;
}

void fenced()
{
    if (!current.on) return;
    current.publishes = true;
    Publishing &p = order.threads[(size_t)current.thread];
    add(p.known, p.read);
    add(p.known, order.all.known);
    p.read.clear();
    p.offered = p.known;
    Moment own = fresh(current.thread);
    p.offered[key_of(own.block, own.thread)] = own;
    order.now[(size_t)current.thread] = 0;
}

void atomic_met(const void *address)
{
    current.publishes = true;
    Publishing &p = order.threads[(size_t)current.thread];
    Views &offers = order.offers[(uintptr_t)address / 4];
    add(p.read, offers);
    add(offers, order.all.offered);
    add(offers, p.offered);
}

uint3 thread_index(const Moment &m)
{
    unsigned t = m.thread;
    return {t % blockDim.x, t / blockDim.x % blockDim.y, t / blockDim.x / blockDim.y};
}

uint3 block_index(const Moment &m)
{
    return order.blocks[m.block];
}

} // namespace race
} // namespace emulator
