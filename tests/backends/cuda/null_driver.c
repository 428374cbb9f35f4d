/* A CUDA driver without a card, for tests: one device of capability NULL_MAJOR.NULL_MINOR, whose memory is the process's.

   Copies are made, kernels are not run: each launch is a line "kernel blocks threads parameter..." in the file
   NULL_LOG. What is captured happens when the graph is launched. The clock of events takes
   a microsecond for each of both. Unknown functions succeed and do nothing.

   A kernel whose name has NULL_FAULT in it fails when it runs: the next wait tells, and from then on everything fails,
   as on a real card. With NULL_PINNED there is no pinned memory of more bytes than that. Memory is on the card
   NULL_ORDINAL, addresses below 4096 are nobody's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
typedef uint64_t Address;
enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, NOT_FOUND = 500, LAUNCH_FAILED = 719,
       NOT_WHILE_CAPTURING = 900 };
enum { LARGEST = 1 << 30, PARAMETERS = 128, ITEMS = 4096 };

typedef struct { char name[128]; int parameters; } Kernel;
typedef struct { Kernel *kernel; unsigned blocks, threads; int64_t values[PARAMETERS]; Address to, from; size_t size; } Item;

typedef struct { int count; Item items[ITEMS]; } Graph;

static Graph *graph; /* the one that is being captured, or was last */
static int capturing;
static void *captured; /* the stream */
static double clock_ms; /* a microsecond for each copy and launch */
static char context[64];
static void *current;
static Result lost;

static int from_environment(const char *name, int otherwise) {
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

static void perform(const Item *item) {
    clock_ms += 0.001;
    if (!item->kernel) {
        memcpy((void *)item->to, (void *)item->from, item->size);
        return;
    }
    const char *fault = getenv("NULL_FAULT");
    if (fault && strstr(item->kernel->name, fault)) lost = LAUNCH_FAILED;
    if (lost) return;
    FILE *log = fopen(getenv("NULL_LOG"), "a");
    fprintf(log, "%s %u %u", item->kernel->name, item->blocks, item->threads);
    for (int i = 0; i < item->kernel->parameters; i++) fprintf(log, " %lld", (long long)item->values[i]);
    fprintf(log, "\n");
    fclose(log);
}

static Result take(Item item) {
    if (lost) return lost;
    if (!capturing) perform(&item);
    else if (graph->count == ITEMS) return OUT_OF_MEMORY;
    else graph->items[graph->count++] = item;
    return OK;
}

static Result copy(Address to, Address from, size_t size) { return take((Item){.to = to, .from = from, .size = size}); }

/* ---- device and context ---- */
Result cuInit(unsigned flags) { return from_environment("NULL_DEVICES", 1) ? OK : NO_DEVICE; }
Result cuDriverGetVersion(int *version) { *version = from_environment("NULL_VERSION", 13000); return OK; }
Result cuDeviceGetCount(int *n) { *n = 1; return OK; }
Result cuDeviceGet(int *device, int ordinal) { *device = ordinal; return OK; }
Result cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "null card"); return OK; }
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case 75: *value = from_environment("NULL_MAJOR", 9); break;
    case 76: *value = from_environment("NULL_MINOR", 0); break;
    default: *value = 1024;
    }
    return OK;
}
Result cuDevicePrimaryCtxRetain(void **made, int device) { *made = context; return OK; }
Result cuCtxGetCurrent(void **found) { *found = current; return OK; }
Result cuCtxSetCurrent(void *chosen) { current = chosen; return OK; }
Result cuCtxPushCurrent_v2(void *chosen) { current = chosen; return OK; }
Result cuCtxPopCurrent_v2(void **found) { if (found) *found = current; return OK; }
Result cuCtxGetDevice(int *device) { *device = 0; return OK; }
Result cuCtxGetStreamPriorityRange(int *least, int *greatest) { *least = *greatest = 0; return OK; }

/* ---- memory ---- */
Result cuMemAlloc_v2(Address *made, size_t size) {
    if (lost || size > LARGEST) return lost ? lost : OUT_OF_MEMORY;
    *made = (Address)aligned_alloc(256, (size + 255) / 256 * 256);
    return OK;
}
Result cuMemAllocAsync(Address *made, size_t size, void *stream) { return cuMemAlloc_v2(made, size); }
Result cuMemAllocFromPoolAsync(Address *made, size_t size, void *pool, void *stream) { return cuMemAlloc_v2(made, size); }
Result cuMemFree_v2(Address place) { free((void *)place); return lost; }
Result cuMemFreeAsync(Address place, void *stream) { return cuMemFree_v2(place); }
Result cuMemAllocHost_v2(void **made, size_t size) {
    if (lost || size > from_environment("NULL_PINNED", LARGEST)) return lost ? lost : OUT_OF_MEMORY;
    *made = malloc(size);
    return OK;
}
Result cuMemHostAlloc(void **made, size_t size, unsigned flags) { return cuMemAllocHost_v2(made, size); }
Result cuMemFreeHost(void *place) { free(place); return lost; }
Result cuDeviceGetDefaultMemPool(void **pool, int device) { *pool = context; return OK; }
Result cuDeviceGetMemPool(void **pool, int device) { *pool = context; return OK; }
Result cuMemPoolGetAttribute(void *pool, int attribute, void *value) { *(uint64_t *)value = 0; return OK; }
Result cuPointerGetAttribute(void *value, int attribute, Address place) {
    if (place < 4096) return INVALID;
    if (attribute == 9) *(int *)value = from_environment("NULL_ORDINAL", 0);
    else if (attribute == 2) *(unsigned *)value = 2; /* memory of the device */
    else if (attribute == 3 || attribute == 4) *(Address *)value = place;
    else *(int *)value = 0;
    return OK;
}
Result cuPointerGetAttributes(unsigned n, int *attributes, void **values, Address place) {
    for (unsigned i = 0; i < n; i++) cuPointerGetAttribute(values[i], attributes[i], place);
    return OK;
}
Result cuMemcpyAsync(Address to, Address from, size_t size, void *stream) { return copy(to, from, size); }
Result cuMemcpyHtoDAsync_v2(Address to, void *from, size_t size, void *stream) { return copy(to, (Address)from, size); }
Result cuMemcpyDtoHAsync_v2(void *to, Address from, size_t size, void *stream) { return copy((Address)to, from, size); }

/* ---- kernels ---- */
Result cuLibraryLoadData(void **made, const char *code, void *a, void *b, unsigned n, void *c, void *d, unsigned m) {
    if (memcmp(code, "\x7f" "ELF", 4)) return INVALID;
    *made = (void *)code;
    return OK;
}
Result cuLibraryGetKernel(void **made, void *library, const char *name) {
    Kernel *kernel = calloc(1, sizeof(Kernel));
    snprintf(kernel->name, sizeof kernel->name, "%s", name);
    const char *known = getenv("NULL_PARAMETERS"); /* "name=number,name=number" */
    const char *found = known ? strstr(known, name) : 0;
    if (!found) return NOT_FOUND;
    kernel->parameters = atoi(found + strlen(name) + 1);
    *made = kernel;
    return OK;
}
Result cuKernelGetFunction(void **function, void *kernel) { *function = kernel; return OK; }
Result cuKernelGetAttribute(int *value, int attribute, void *kernel, int device) { *value = 1024; return OK; }
Result cuLaunchKernelEx(unsigned *config, void *kernel, void **parameters, void *extra) {
    Item item = {.kernel = kernel, .blocks = config[0], .threads = config[3]};
    for (int i = 0; i < item.kernel->parameters; i++) item.values[i] = *(int64_t *)parameters[i];
    return take(item);
}
Result cuLaunchKernel(void *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, void *stream, void **parameters, void **extra) {
    unsigned config[6] = {gx, gy, gz, bx, by, bz};
    return cuLaunchKernelEx(config, kernel, parameters, extra);
}

/* ---- streams and graphs ---- */
Result cuStreamCreateWithPriority(void **made, unsigned flags, int priority) { *made = malloc(16); return OK; }
Result cuStreamGetCtx(void *stream, void **found) { *found = context; return OK; }
Result cuStreamGetCtx_v2(void *stream, void **found, void **green) { *found = context; if (green) *green = 0; return OK; }
Result cuStreamGetDevice(void *stream, int *device) { *device = 0; return OK; }
Result cuStreamGetFlags(void *stream, unsigned *flags) { *flags = 1; return OK; }
Result cuStreamIsCapturing(void *stream, int *status) { *status = capturing; return OK; }
Result cuStreamBeginCapture_v2(void *stream, int mode) {
    capturing = 1;
    captured = stream;
    graph = calloc(1, sizeof(Graph));
    return OK;
}
Result cuStreamEndCapture(void *stream, void **made) { capturing = 0; *made = graph; return OK; }
Result cuStreamGetCaptureInfo_v2(void *stream, int *status, uint64_t *id, void **found, void **edges, size_t *n) {
    *status = capturing;
    if (id) *id = 1;
    if (found) *found = graph;
    if (n) *n = 0;
    return OK;
}
Result cuStreamGetCaptureInfo_v3(void *stream, int *status, uint64_t *id, void **found, void **edges, void **data, size_t *n) {
    return cuStreamGetCaptureInfo_v2(stream, status, id, found, edges, n);
}
Result cuGraphInstantiateWithFlags(void **made, void *of, uint64_t flags) { *made = of; return OK; }
Result cuGraphInstantiateWithParams(void **made, void *of, char *parameters) {
    *made = of;
    *(int *)(parameters + 24) = OK; /* result_out, behind flags, stream and node */
    return OK;
}
Result cuGraphLaunch(Graph *what, void *stream) {
    if (lost) return lost;
    for (int i = 0; i < what->count; i++) perform(&what->items[i]);
    return OK;
}
Result cuEventCreate(double **made, unsigned flags) { *made = malloc(sizeof(double)); return OK; }
Result cuEventRecord(double *event, void *stream) { *event = clock_ms; return lost; }
Result cuEventElapsedTime(float *ms, double *start, double *end) { *ms = *end - *start; return OK; }
Result cuStreamSynchronize(void *stream) { return capturing && stream == captured ? NOT_WHILE_CAPTURING : lost; }

/* ---- how the bindings find all this ---- */
Result cuGetErrorName(Result error, const char **text) {
    *text = error == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
          : error == LAUNCH_FAILED ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR";
    return OK;
}
Result cuGetErrorString(Result error, const char **text) { return cuGetErrorName(error, text); }
static Result nothing(void) { return OK; }

Result cuGetProcAddress_v2(const char *symbol, void **found, int version, uint64_t flags, int *status) {
    char name[160];
    *found = 0;
    for (int v = 3; v > 0 && !*found; v--) {
        snprintf(name, sizeof name, v > 1 ? "%s_v%d" : "%s", symbol, v);
        *found = dlsym(dlopen(getenv("NULL_DRIVER"), RTLD_LAZY | RTLD_NOLOAD), name);
    }
    if (!*found) *found = (void *)nothing;
    if (status) *status = 0;
    return OK;
}
