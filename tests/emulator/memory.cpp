/* Memory of the emulated device. What cudaMalloc gives is out of the host's reach except while the
 * device works. Each allocation ends (to within its alignment) at a page without access and begins
 * as NaN, and what lies between its ends and those pages must stay as it was. */
#include <link.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <vector>

#include "race.h"

namespace emulator
{

namespace
{

enum { PAGE = 4096, ALIGN = 256, POISON = 0xff, CHUNK = 4 << 20 };

struct Block {
    char *map; /* a page without access, the pages, a page without access */
    size_t map_bytes, bytes;
    Kind kind;
};

struct Memory {
    std::map<char *, Block> blocks; /* by first byte */
    size_t taken = 0;
    int open = 0;
    char *dynamic = nullptr; /* dynamic shared memory of the block that runs */
    char *dynamic_end = nullptr;
    char *fixed = nullptr; /* this module's __shared__ variables */
    size_t fixed_bytes = 0;
    int chunk = -1; /* a file of CHUNK bytes of POISON */
} memory;

/* Makes sure that this module has a segment of thread-local memory. */
thread_local char anchor;

size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

void protect(const Block &b, int access)
{
    if (mprotect(b.map + PAGE, b.map_bytes - 2 * PAGE, access) != 0)
        die("mprotect failed; is vm.max_map_count reached?");
}

/* Pages that are POISON until they are written. Large ones are views of one file: pages that nobody
 * touches exist once, and cost nothing when access to them comes and goes. */
void poison_pages(char *to, size_t bytes)
{
    if (bytes < CHUNK) {
        memset(to, POISON, bytes);
        return;
    }
    if (memory.chunk < 0) {
        std::vector<char> pattern(CHUNK, (char)POISON);
        memory.chunk = memfd_create("emulator", MFD_CLOEXEC);
        if (write(memory.chunk, pattern.data(), CHUNK) != CHUNK) die("no memory for a pattern");
    }
    for (size_t at = 0; at < bytes; at += CHUNK)
        if (mmap(to + at, std::min<size_t>(CHUNK, bytes - at), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_FIXED, memory.chunk, 0) == MAP_FAILED)
            die("no memory for %zu bytes", bytes);
}

const std::pair<char *const, Block> *block_of(const void *p)
{
    auto next = memory.blocks.upper_bound((char *)p);
    if (next == memory.blocks.begin()) return nullptr;
    const auto &found = *--next;
    return (char *)p <= found.first + found.second.bytes ? &found : nullptr;
}

struct sigaction before_segv, before_bus;

/* Which memory a forbidden address lies at. */
void describe(char *text, size_t size, const char *p)
{
    for (const auto &[first, b] : memory.blocks) {
        if (p < b.map || p >= b.map + b.map_bytes) continue;
        if (p < first)
            snprintf(text, size, "%zu bytes in front of", (size_t)(first - p));
        else if (p >= first + b.bytes)
            snprintf(text, size, "%zu bytes past the end of", (size_t)(p - first) - b.bytes);
        else
            snprintf(text, size, "at byte %zu of", (size_t)(p - first));
        size_t n = strlen(text);
        snprintf(text + n, size - n, " %zu bytes of device memory", b.bytes);
        return;
    }
    if (is_shared(p)) {
        bool dynamic = p >= memory.dynamic && p < memory.dynamic_end;
        snprintf(text, size, "at byte %zu of %s shared memory",
                 (size_t)(p - (dynamic ? memory.dynamic : memory.fixed)),
                 dynamic ? "dynamic" : "static");
    } else if (memory.dynamic_end && p >= memory.dynamic_end && p < memory.dynamic_end + PAGE)
        snprintf(text, size, "%zu bytes past the end of dynamic shared memory",
                 (size_t)(p - memory.dynamic_end));
    else
        snprintf(text, size, "outside all device memory");
}

/* Says where it was; then the fault happens again under the handler from before. */
void on_fault(int number, siginfo_t *info, void *)
{
    char text[256];
    describe(text, sizeof text, static_cast<char *>(info->si_addr));
    std::string at = running();
    fprintf(stderr, "emulator: %s: access to %p, %s\n",
            at.empty() ? "host code, which device memory is no business of" : at.c_str(),
            info->si_addr, text);
    sigaction(number, number == SIGSEGV ? &before_segv : &before_bus, nullptr);
}

void watch(int number, struct sigaction *before)
{
    struct sigaction now, ours = {};
    sigaction(number, nullptr, &now);
    if ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_fault) return;
    *before = now;
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(number, &ours, nullptr);
}

/* A fault may be a stack's overflow, and fibers' stacks are no place for a handler. */
void watch_faults()
{
    stack_t now;
    if (sigaltstack(nullptr, &now) == 0 && (now.ss_flags & SS_DISABLE)) {
        stack_t ours = {};
        ours.ss_size = 64 << 10;
        ours.ss_sp =
            mmap(nullptr, ours.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        sigaltstack(&ours, nullptr);
    }
    watch(SIGSEGV, &before_segv);
    watch(SIGBUS, &before_bus);
}

bool poisoned(const char *from, const char *to)
{
    for (; from < to; from++)
        if ((unsigned char)*from != POISON) return false;
    return true;
}

int find_segment(struct dl_phdr_info *info, size_t, void *)
{
    auto self = (ElfW(Addr))(void *)&find_segment;
    bool here = false;
    size_t bytes = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) &p = info->dlpi_phdr[i];
        ElfW(Addr) first = info->dlpi_addr + p.p_vaddr;
        if (p.p_type == PT_LOAD && self >= first && self < first + p.p_memsz) here = true;
        if (p.p_type == PT_TLS) bytes = p.p_memsz;
    }
    if (!here) return 0;
    memory.fixed = static_cast<char *>(info->dlpi_tls_data);
    memory.fixed_bytes = bytes;
    return 1;
}

} // namespace

void *take(size_t bytes, Kind kind)
{
    size_t room = round_up(bytes ? bytes : 1, ALIGN), map_bytes = round_up(room, PAGE) + 2 * PAGE;
    void *map =
        mmap(nullptr, map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return nullptr;
    Block b = {static_cast<char *>(map), map_bytes, bytes, kind};
    protect(b, PROT_READ | PROT_WRITE);
    if (!tracing()) poison_pages(b.map + PAGE, map_bytes - 2 * PAGE);
    if (kind == Kind::DEVICE && !memory.open) protect(b, PROT_NONE);
    char *first = b.map + map_bytes - PAGE - room;
    memory.blocks[first] = b;
    if (kind != Kind::PINNED) memory.taken += bytes;
    watch_faults();
    return first;
}

bool give(void *p, Kind kind)
{
    auto found = memory.blocks.find(static_cast<char *>(p));
    if (found == memory.blocks.end()) return false;
    Block b = found->second;
    if ((b.kind == Kind::PINNED) != (kind == Kind::PINNED)) return false;
    if (b.kind != Kind::PINNED) memory.taken -= b.bytes;
    memory.blocks.erase(found);
    race::freed(b.map, b.map_bytes);
    /* The place stays without access: what still points there shows. */
    mmap(b.map, b.map_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
         0);
    return true;
}

size_t taken()
{
    return memory.taken;
}

Place place_of(const void *p)
{
    const auto *found = block_of(p);
    if (!found) return {Kind::HOST, SIZE_MAX};
    return {found->second.kind, (size_t)(found->first + found->second.bytes - (const char *)p)};
}

bool is_device_page(const void *p)
{
    auto next = memory.blocks.upper_bound((char *)p);
    auto within = [p](const Block &b) { return p >= b.map && p < b.map + b.map_bytes; };
    if (next != memory.blocks.end() && within(next->second)) return true;
    return next != memory.blocks.begin() && within(std::prev(next)->second);
}

std::string memory_text(const void *p)
{
    char text[256];
    describe(text, sizeof text, static_cast<const char *>(p));
    return text;
}

void open_memory()
{
    if (memory.open++) return;
    watch_faults();
    for (const auto &[first, b] : memory.blocks)
        if (b.kind == Kind::DEVICE) protect(b, PROT_READ | PROT_WRITE);
}

void close_memory()
{
    if (--memory.open) return;
    for (const auto &[first, b] : memory.blocks)
        if (b.kind == Kind::DEVICE) protect(b, PROT_NONE);
}

void check_edges(const char *after)
{
    for (const auto &[first, b] : memory.blocks) {
        const char *end = first + b.bytes, *guard = b.map + b.map_bytes - PAGE;
        const char *front = std::max(first - ALIGN, b.map + PAGE);
        if (!poisoned(end, guard))
            die("%s wrote past the end of %zu bytes of device memory", after, b.bytes);
        if (!poisoned(front, first))
            die("%s wrote in front of %zu bytes of device memory", after, b.bytes);
    }
}

void find_shared()
{
    volatile char *touched = &anchor;
    *touched = 0;
    dl_iterate_phdr(find_segment, nullptr);
    if (memory.dynamic_end) return;
    size_t bytes = round_up(MAX_SHARED, PAGE) + 2 * PAGE;
    void *map = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) die("no memory for a block's shared memory");
    memory.dynamic_end = static_cast<char *>(map) + bytes - PAGE;
    mprotect(map, PAGE, PROT_NONE);
    mprotect(memory.dynamic_end, PAGE, PROT_NONE);
}

void poison_shared(size_t dynamic_bytes)
{
    memory.dynamic = memory.dynamic_end - round_up(dynamic_bytes, 128);
    memset(memory.dynamic, POISON, (size_t)(memory.dynamic_end - memory.dynamic));
    if (memory.fixed) memset(memory.fixed, POISON, memory.fixed_bytes);
}

void *dynamic_shared_bytes()
{
    return memory.dynamic;
}

bool is_shared(const void *p)
{
    auto *c = static_cast<const char *>(p);
    return (c >= memory.dynamic && c < memory.dynamic_end) ||
           (c >= memory.fixed && c < memory.fixed + memory.fixed_bytes);
}

} // namespace emulator
