/* An HTTP load client that stays out of the way: one thread per connection, keep-alive, bodies by sendfile from memory.
 *
 *   load --target HOST:PORT|unix:PATH --connections N --seconds S [--least N] [--header 'Name: value']...
 *        --upload PATH --size BYTES [--same]     POST a PNG of BYTES, another one each time unless --same
 *        --get FILE                              GET the paths in FILE, one per line, in turn; lines may end in a
 *                                                tab and a Range value
 *
 * Each connection first makes one request that is not counted, of 1 KiB if it is an upload. Then all run for S
 * seconds, and for N requests each at the least. Prints one line of JSON: what was counted, in seconds, bytes and milliseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { START = 96, BUFFER = 256 * 1024, TIMEOUT_SECONDS = 120 };

struct target { char *path, *range; };

static const char *address;
static int connections = 1;
static double seconds = 1;
static long least = 1;
static char headers[8192];
static const char *upload_path;
static size_t upload_size;
static int same;
static int body_file = -1; /* upload_size random bytes in memory */
static struct target *targets;
static size_t target_count;
static uint64_t seed;
static unsigned char png_start[41]; /* signature, IHDR, and the head of an IDAT: what tells a PNG */

struct connection {
    pthread_t thread;
    int number, socket;
    long sent; /* requests ever, for bodies that differ */
    float *latency;
    long done, room, failed, warm;
    uint64_t bytes;
    double end;
    char problem[200];
    char buffer[BUFFER];
    size_t from, to;
};

static pthread_barrier_t ready, go;

static void die(const char *what) { perror(what); exit(2); }

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void connect_to_target(struct connection *c)
{
    if (!strncmp(address, "unix:", 5)) {
        struct sockaddr_un to = {.sun_family = AF_UNIX};
        snprintf(to.sun_path, sizeof to.sun_path, "%s", address + 5);
        c->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->socket < 0 || connect(c->socket, (struct sockaddr *)&to, sizeof to)) die(address);
    } else {
        struct sockaddr_in to = {.sin_family = AF_INET};
        char host[64];
        int port, one = 1;
        if (sscanf(address, "%63[^:]:%d", host, &port) != 2 || inet_pton(AF_INET, host, &to.sin_addr) != 1) {
            fprintf(stderr, "%s: neither IPV4:PORT nor unix:PATH\n", address);
            exit(2);
        }
        to.sin_port = htons((uint16_t)port);
        c->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->socket < 0 || connect(c->socket, (struct sockaddr *)&to, sizeof to)) die(address);
        setsockopt(c->socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    struct timeval limit = {.tv_sec = TIMEOUT_SECONDS};
    setsockopt(c->socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(c->socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    c->from = c->to = 0;
}

static int send_all(int socket, const char *data, size_t size, int flags)
{
    while (size) {
        ssize_t sent = send(socket, data, size, flags | MSG_NOSIGNAL);
        if (sent <= 0) return -1;
        data += sent;
        size -= (size_t)sent;
    }
    return 0;
}

static int send_upload(struct connection *c, size_t size)
{
    char head[9000];
    int length = snprintf(head, sizeof head - START, "POST %s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %zu\r\n\r\n",
                          upload_path, headers, size);
    size_t start = size < START ? size : START;
    unsigned char body[START + 1];
    pread(body_file, body, start, 0);
    memcpy(body, png_start, start < sizeof png_start ? start : sizeof png_start);
    if (!same && start == START)
        snprintf((char *)body + sizeof png_start, START - sizeof png_start, "%016llx.%d.%ld",
                 (unsigned long long)seed, c->number, c->sent);
    c->sent++;
    memcpy(head + length, body, start);
    if (send_all(c->socket, head, (size_t)length + start, size > start ? MSG_MORE : 0)) return -1;
    for (off_t at = (off_t)start; (size_t)at < size;)
        if (sendfile(c->socket, body_file, &at, size - (size_t)at) <= 0) return -1;
    return 0;
}

static int send_get(struct connection *c)
{
    char head[9000], range[100] = "";
    struct target *t = &targets[((size_t)c->sent++ * (size_t)connections + (size_t)c->number) % target_count];
    if (t->range) snprintf(range, sizeof range, "Range: %s\r\n", t->range);
    int length = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s%s\r\n", t->path, headers, range);
    return send_all(c->socket, head, (size_t)length, 0);
}

static int fill(struct connection *c)
{
    if (c->from == c->to) c->from = c->to = 0;
    if (c->to == BUFFER) return -1;
    ssize_t got = recv(c->socket, c->buffer + c->to, BUFFER - c->to, 0);
    if (got <= 0) return -1;
    c->to += (size_t)got;
    return 0;
}

/* The line at the front of the buffer, without its end; NULL when the connection ends. */
static char *read_line(struct connection *c)
{
    for (;;) {
        char *line = c->buffer + c->from, *end = memchr(line, '\n', c->to - c->from);
        if (end) {
            c->from = (size_t)(end + 1 - c->buffer);
            *end = 0;
            if (end > line && end[-1] == '\r') end[-1] = 0;
            return line;
        }
        if (c->from && c->to == BUFFER) {
            memmove(c->buffer, line, c->to -= c->from);
            c->from = 0;
        }
        if (fill(c)) return NULL;
    }
}

static int skip(struct connection *c, uint64_t size)
{
    uint64_t held = c->to - c->from;
    if (held > size) held = size;
    c->from += held;
    size -= held;
    c->bytes += held;
    int discard = strncmp(address, "unix:", 5) ? MSG_TRUNC : 0; /* TCP drops the bytes uncopied */
    while (size) {
        ssize_t got = recv(c->socket, c->buffer, discard ? size : size < BUFFER ? size : BUFFER, discard);
        if (got <= 0) return -1;
        size -= (uint64_t)got;
        c->bytes += (uint64_t)got;
    }
    return 0;
}

/* The status; -1 when the connection broke. *again* tells whether it stays open. */
static int read_answer(struct connection *c, int *again)
{
    int status = 0, chunked = 0;
    uint64_t length = 0;
    *again = 1;
    char *line = read_line(c);
    if (!line || sscanf(line, "HTTP/1.%*d %d", &status) != 1) return -1;
    while ((line = read_line(c)) && *line) {
        if (!strncasecmp(line, "content-length:", 15)) length = strtoull(line + 15, NULL, 10);
        if (!strncasecmp(line, "transfer-encoding: chunked", 26)) chunked = 1;
        if (!strncasecmp(line, "connection: close", 17)) *again = 0;
    }
    if (!line) return -1;
    if ((status < 200 || status > 299) && !*c->problem) {
        if (c->from == c->to && length) fill(c);
        snprintf(c->problem, sizeof c->problem, "%d %.*s", status, (int)(c->to - c->from), c->buffer + c->from);
    }
    if (!chunked) return skip(c, length) ? -1 : status;
    do {
        if (!(line = read_line(c))) return -1;
        length = strtoull(line, NULL, 16);
        if (skip(c, length) || !read_line(c)) return -1;
    } while (length);
    return status;
}

static void one_request(struct connection *c, int counted)
{
    int again = 1;
    double start = now();
    size_t size = counted || upload_size < 1024 ? upload_size : 1024;
    int broken = upload_path ? send_upload(c, size) : send_get(c);
    int status = read_answer(c, &again); /* also when sending broke: a refusal may be waiting */
    double end = now();
    if (counted && c->done == c->room) {
        c->room = c->room ? c->room * 2 : 1024;
        if (!(c->latency = realloc(c->latency, (size_t)c->room * sizeof *c->latency))) die("memory");
    }
    if (counted) {
        c->latency[c->done++] = (float)((end - start) * 1e3);
        c->end = end;
    } else {
        c->warm++;
    }
    if (status < 200 || status > 299) {
        c->failed++;
        if (!*c->problem) snprintf(c->problem, sizeof c->problem, "the connection broke: %s", strerror(errno));
    }
    if (broken || status < 0 || !again) {
        close(c->socket);
        connect_to_target(c);
    }
}

static double deadline;

static void *run(void *argument)
{
    struct connection *c = argument;
    connect_to_target(c);
    one_request(c, 0);
    c->bytes = 0;
    pthread_barrier_wait(&ready);
    pthread_barrier_wait(&go);
    while (c->done < least || now() < deadline) one_request(c, 1);
    return NULL;
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static void make_body(void)
{
    static const unsigned char start[41] = {
        0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R', 0, 0, 4, 0, 0, 0, 4, 0,
        8, 2, 0, 0, 0, 0xf0, 0x7f, 0xbc, 0xd1, 0, 0, 0, 0, 'I', 'D', 'A', 'T'};
    memcpy(png_start, start, sizeof start);
    uint32_t rest = htonl(upload_size > 57 ? (uint32_t)(upload_size - 57) : 0);
    memcpy(png_start + 33, &rest, 4);
    body_file = memfd_create("body", MFD_CLOEXEC);
    if (body_file < 0 || ftruncate(body_file, (off_t)upload_size)) die("memfd_create");
    uint64_t *data = mmap(NULL, upload_size + 8, PROT_READ | PROT_WRITE, MAP_SHARED, body_file, 0);
    if (data == MAP_FAILED) die("mmap");
    uint64_t state = 0x9e3779b97f4a7c15;
    for (size_t at = 0; at < upload_size / 8; at++) data[at] = next_random(&state);
    munmap(data, upload_size + 8);
}

static void read_targets(const char *name)
{
    FILE *file = fopen(name, "r");
    if (!file) die(name);
    char line[4096];
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        targets = realloc(targets, (target_count + 1) * sizeof *targets);
        if (!targets) die("memory");
        char *tab = strchr(line, '\t');
        if (tab) *tab = 0;
        targets[target_count].range = tab ? strdup(tab + 1) : NULL;
        targets[target_count++].path = strdup(line);
    }
    fclose(file);
    if (!target_count) { fprintf(stderr, "%s: empty\n", name); exit(2); }
}

static double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void print_text(const char *text)
{
    putchar('"');
    for (; *text; text++)
        if (*text == '"' || *text == '\\') printf("\\%c", *text);
        else putchar((unsigned char)*text < ' ' ? ' ' : *text);
    putchar('"');
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"target", 1, 0, 't'}, {"connections", 1, 0, 'c'}, {"seconds", 1, 0, 's'}, {"least", 1, 0, 'l'},
        {"header", 1, 0, 'h'}, {"upload", 1, 0, 'u'}, {"size", 1, 0, 'b'}, {"same", 0, 0, 'e'},
        {"get", 1, 0, 'g'}, {0, 0, 0, 0}};
    signal(SIGPIPE, SIG_IGN);  /* a server that closes in the middle of a body: sendfile has no flag for it */
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        size_t used = strlen(headers);
        switch (option) {
        case 't': address = optarg; break;
        case 'c': connections = atoi(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 'l': least = atol(optarg); break;
        case 'h': snprintf(headers + used, sizeof headers - used, "%s\r\n", optarg); break;
        case 'u': upload_path = optarg; break;
        case 'b': upload_size = strtoull(optarg, NULL, 10); break;
        case 'e': same = 1; break;
        case 'g': read_targets(optarg); break;
        default: return 2;
        }
    }
    if (!address || connections < 1 || !upload_path == !target_count || (upload_path && !upload_size)) {
        fprintf(stderr, "usage: see the head of load.c\n");
        return 2;
    }
    if (getentropy(&seed, sizeof seed)) die("getentropy");
    if (upload_path) make_body();

    struct connection *all = calloc((size_t)connections, sizeof *all);
    if (!all) die("memory");
    pthread_barrier_init(&ready, NULL, (unsigned)connections + 1);
    pthread_barrier_init(&go, NULL, (unsigned)connections + 1);
    for (int i = 0; i < connections; i++) {
        all[i].number = i;
        if (pthread_create(&all[i].thread, NULL, run, &all[i])) die("pthread_create");
    }
    pthread_barrier_wait(&ready);
    double cpu = cpu_seconds(), start = now(), end = start;
    deadline = start + seconds;
    pthread_barrier_wait(&go);
    long done = 0, failed = 0, warm = 0;
    uint64_t bytes = 0;
    const char *problem = "";
    for (int i = 0; i < connections; i++) {
        pthread_join(all[i].thread, NULL);
        done += all[i].done;
        failed += all[i].failed;
        warm += all[i].warm;
        bytes += all[i].bytes;
        if (all[i].end > end) end = all[i].end;
        if (*all[i].problem) problem = all[i].problem;
    }
    cpu = cpu_seconds() - cpu;
    float *latency = malloc((size_t)done * sizeof *latency);
    if (!latency) die("memory");
    for (long i = 0, at = 0; i < connections; at += all[i++].done)
        memcpy(latency + at, all[i].latency, (size_t)all[i].done * sizeof *latency);
    qsort(latency, (size_t)done, sizeof *latency, by_size);
    if (upload_path) bytes = (uint64_t)done * upload_size;
    printf("{\"requests\": %ld, \"warm\": %ld, \"failed\": %ld, \"seconds\": %.6f, \"bytes\": %llu, \"p50_ms\": %.4f, "
           "\"p99_ms\": %.4f, \"max_ms\": %.4f, \"client_cpu_seconds\": %.4f, \"problem\": ",
           done, warm, failed, end - start, (unsigned long long)bytes, latency[done / 2], latency[done * 99 / 100],
           latency[done - 1], cpu);
    print_text(problem);
    puts("}");
    return 0;
}
