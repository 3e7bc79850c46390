/* What is remembered of every word of device and shared memory that a kernel touches: its last
 * write, and what has read it since. */
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <unordered_map>
#include <vector>

#include "race.h"

namespace emulator
{
namespace race
{

namespace
{

enum { PAGE = 4096, WORD = 4, WORDS = PAGE / WORD, CACHED = 1024 };
enum : uint32_t { ALWAYS = 1u << 31 };

struct Touch {
    uint32_t who; /* number of a moment; 0: nobody */
    uint32_t place;
    bool atomic;
};

struct Cell {
    Touch write;
    uint32_t settled;          /* the era, or ALWAYS, in which no further read can tell anything */
    std::vector<Touch> others; /* reads and atomics, none of them ordered before another */
};

/* A word, or, once it has been touched in parts, each of its bytes. */
struct Word {
    uint32_t number = 0; /* of the launch or, in shared memory, block whose touches these are */
    bool split = false;
    Cell whole = {};
    std::unique_ptr<Cell[]> bytes;
};

struct Page {
    /* Of words: the era, or ALWAYS and the launch, in which no further read can tell anything. */
    uint32_t settled[WORDS];
    Word words[WORDS];
};

struct Cached {
    uintptr_t page;
    uint32_t launch;
    Page *shadow; /* NULL: not memory of kernels */
};

struct Shadow {
    std::unordered_map<uintptr_t, std::unique_ptr<Page>> pages;
    std::vector<std::unique_ptr<Page>> spare; /* of memory that was freed; their numbers are old */
    Cached cached[CACHED] = {};
} shadow;

/* One access, while it is compared with those before it. */
struct Now {
    Access kind;
    const void *p;
    int thread;
    uint32_t who, place;
};

/* --- places in the code, as distances from where this module lies --- */

Dl_info module_of_code()
{
    Dl_info info = {};
    dladdr((const void *)&module_of_code, &info);
    return info;
}

uintptr_t base()
{
    static const uintptr_t at = (uintptr_t)module_of_code().dli_fbase;
    return at;
}

/* "file:line", and after it what it was inlined into. */
std::string place_text(uint32_t place)
{
    char line[1024], command[1200];
    Dl_info info = module_of_code();
    /* The call is in front of where it returns to. */
    snprintf(command, sizeof command, "addr2line -i -e '%s' %#x 2>/dev/null", info.dli_fname,
             place - 1);
    std::string text;
    FILE *said = popen(command, "r");
    while (said && fgets(line, sizeof line, said)) {
        line[strcspn(line, " \n")] = 0;
        if (strchr("?:", line[0]) || strstr(line, "tests/emulator/include")) continue;
        text += (text.empty() ? "" : ", from ") + std::string(line);
    }
    if (said) pclose(said);
    snprintf(line, sizeof line, "%s+%#x", info.dli_fname, place - 1);
    return text.empty() ? line : text;
}

std::string thread_text(const Moment &m)
{
    char text[128];
    uint3 t = thread_index(m), b = block_index(m);
    snprintf(text, sizeof text, "thread (%u, %u, %u) of block (%u, %u, %u)", t.x, t.y, t.z, b.x,
             b.y, b.z);
    return text;
}

/* Pages are kernels' or not as a whole: what else lies beside static shared memory is passed over.
 */
void report(const Now &now, const Touch &before, bool wrote)
{
    if (!is_shared(now.p) && place_of(now.p).kind == Kind::HOST) return;
    const Moment &mine = current.moments[now.who], &other = current.moments[before.who];
    const char *does = now.kind == Access::ATOMIC ? "an atomic"
                       : mine.copy                ? "cp.async"
                       : now.kind == Access::READ ? "a read"
                                                  : "a write";
    const char *did = before.atomic ? "an atomic"
                      : other.copy  ? "cp.async"
                      : wrote       ? "a write"
                                    : "a read";
    std::string where = memory_text(now.p), here = place_text(now.place),
                there = place_text(before.place), me = thread_text(mine), it = thread_text(other);
    fprintf(stderr, "emulator: %s: race %s: %s of %s at %s, and %s of %s at %s, %s\n",
            running_kernel().c_str(), where.c_str(), does, me.c_str(), here.c_str(), did,
            it.c_str(), there.c_str(),
            other.pending ? "which has not been waited for"
                          : "with nothing between that orders them");
    abort();
}

/* --- what is kept of a cell --- */

void compare(const Now &now, const Cell &cell)
{
    const Touch &w = cell.write;
    if (w.who && !before(w.who, now.thread)) report(now, w, true);
    if (now.kind == Access::READ) {
        for (const Touch &o : cell.others)
            if (o.atomic && !before(o.who, now.thread)) report(now, o, false);
        return;
    }
    for (const Touch &o : cell.others)
        if (!(o.atomic && now.kind == Access::ATOMIC) && !before(o.who, now.thread))
            report(now, o, false);
}

/* Of reads that nothing orders, two of different blocks, or else of different warps, or else of
 * different threads, are as good as all: who writes and is ordered after both, by a barrier, is
 * ordered after the others of their kind. 2: best beside one of `thread`. */
int worth(const Moment &m, int thread)
{
    if (m.block != current.block) return 2;
    return m.thread / WARP_LANES != thread / WARP_LANES;
}

/* What this read or atomic comes after is as good as forgotten, and one other read is enough; but
 * copies under way are all kept, and everything is where fences and atomics order threads, too. */
void keep(const Now &now, Cell &cell, uint32_t *settled)
{
    Touch mine = {now.who, now.place, now.kind == Access::ATOMIC}, best = {};
    int rank = -1;
    auto &others = cell.others;
    for (const Touch &o : others)
        if (o.who == mine.who && o.atomic == mine.atomic) return;
    size_t kept = 0;
    for (size_t i = 0; i < others.size(); i++) {
        Touch o = others[i];
        if (o.atomic == mine.atomic && before(o.who, now.thread)) continue;
        const Moment &m = current.moments[o.who];
        if (o.atomic || mine.atomic || m.pending || current.publishes)
            others[kept++] = o;
        else if (worth(m, now.thread) > rank)
            rank = worth(m, now.thread), best = o;
    }
    others.resize(kept);
    if (rank >= 0) others.push_back(best);
    others.push_back(mine);
    /* Two blocks, or two warps of this one, have read: what was written was written before, and who
     * will write must come after. */
    if (rank > 0 && others.size() == 2 && !current.moments[mine.who].pending && settled)
        *settled = rank == 2 ? ALWAYS | current.launch : current.era;
}

/* settled: of the word, if it is whole. */
void meet(const Now &now, Cell &cell, uint32_t *settled)
{
    compare(now, cell);
    if (now.kind != Access::WRITE) {
        keep(now, cell, settled);
        return;
    }
    cell.write = {now.who, now.place, false};
    cell.others.clear();
}

void split(Word &word)
{
    if (word.split) return;
    if (!word.bytes) word.bytes.reset(new Cell[WORD]);
    for (int i = 0; i < WORD; i++) word.bytes[i] = word.whole;
    word.split = true;
}

/* Bytes [from, to) of a word. */
void touch_word(const Now &now, Word &word, uint32_t *settled, uint32_t number, size_t from,
                size_t to)
{
    if (word.number != number) {
        word.number = number;
        word.split = false;
        word.whole.write = {};
        word.whole.others.clear();
    }
    if (from == 0 && to == WORD && !word.split) {
        meet(now, word.whole, settled);
        return;
    }
    split(word);
    for (size_t i = from; i < to; i++) meet(now, word.bytes[i], nullptr);
}

bool is_settled(uint32_t settled)
{
    return !current.publishes && (settled == current.era || settled == (ALWAYS | current.launch));
}

Page *page_of(uintptr_t p, bool shared)
{
    uintptr_t page = p / PAGE;
    Cached &c = shadow.cached[page % CACHED];
    if (c.page == page && c.launch == current.launch && (c.shadow || !shared)) return c.shadow;
    bool ours = shared || is_device_page((const void *)p);
    Page *found = nullptr;
    if (ours) {
        auto &at = shadow.pages[page];
        if (!at && !shadow.spare.empty()) {
            at = std::move(shadow.spare.back());
            shadow.spare.pop_back();
        }
        if (!at) at.reset(new Page());
        found = at.get();
    }
    c = {page, current.launch, found};
    return found;
}

} // namespace

void touch(Access kind, const void *address, size_t bytes, int thread, uint32_t who,
           const void *place)
{
    auto p = (uintptr_t)address, end = p + bytes;
    bool shared = is_shared(address);
    uint32_t number = shared ? current.block : current.launch;
    Now now = {kind, address, thread, who, (uint32_t)((uintptr_t)place - base())};
    while (p < end) {
        uintptr_t word = p / WORD * WORD, stop = std::min(end, word + WORD);
        Page *page = page_of(p, shared);
        if (!page) return;
        uint32_t *settled = &page->settled[p % PAGE / WORD];
        if (kind != Access::READ || !is_settled(*settled)) {
            if (!now.who) now.who = now_of(thread);
            now.p = (const void *)p;
            touch_word(now, page->words[p % PAGE / WORD], settled, number, p - word, stop - word);
        }
        p = stop;
    }
}

void touch_early(const void *p, const void *place)
{
    if (!is_device_page(p) || place_of(p).kind == Kind::HOST) return;
    std::string text = place_text((uint32_t)((uintptr_t)place - base()));
    die("device memory is touched before wait_for_earlier, at %s", text.c_str());
}

void freed(const char *from, size_t bytes)
{
    if (shadow.pages.empty()) return;
    for (size_t i = 0; i < bytes; i += PAGE) {
        auto found = shadow.pages.find((uintptr_t)(from + i) / PAGE);
        if (found == shadow.pages.end()) continue;
        shadow.spare.push_back(std::move(found->second));
        shadow.pages.erase(found);
    }
}

} // namespace race
} // namespace emulator
