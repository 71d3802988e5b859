/* The limit for uploads: a C server that hashes and writes each body with the fsyncs a durable store needs, and no more.
 *
 *   sink ROOT HOST:PORT|unix:PATH...  [--discard | --no-sync | --row]
 *
 * POST: the body goes to a file in ROOT/spool and through SHA-256 (OpenSSL), is fdatasynced, linked as
 * ROOT/blobs/<xx>/<hex>, and the folder is fsynced; then the answer is sent. --row also appends a line to a log and
 * fdatasyncs it, as a database would; --no-sync leaves all of that to the kernel; --discard only receives. One
 * thread per connection. Stops when its input closes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sha256.h"

enum { READ = 256 * 1024, HEAD = 16 * 1024 };

static const char *root;
static int discard, sync_files = 1, with_row, log_file = -1;
static int folders[256];

static void die(const char *what) { perror(what); exit(2); }

static void write_all(int file, const char *data, size_t size)
{
    while (size) {
        ssize_t written = write(file, data, size);
        if (written < 0) die("write");
        data += written;
        size -= (size_t)written;
    }
}

static void publish(int file, const unsigned char *digest, char *hex)
{
    char from[64];
    for (int i = 0; i < 32; i++) sprintf(hex + 2 * i, "%02x", digest[i]);
    if (sync_files && fdatasync(file)) die("fdatasync");
    snprintf(from, sizeof from, "/proc/self/fd/%d", file);
    if (linkat(AT_FDCWD, from, folders[digest[0]], hex, AT_SYMLINK_FOLLOW) && errno != EEXIST) die("linkat");
    if (sync_files && fsync(folders[digest[0]])) die("fsync");
    if (with_row) {
        char row[200];
        write_all(log_file, row, (size_t)snprintf(row, sizeof row, "%s image/png 1048576 1700000000000000\n", hex));
        if (fdatasync(log_file)) die("fdatasync");
    }
}

static void *serve(void *argument)
{
    int socket = (int)(intptr_t)argument, one = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char *buffer = malloc(READ), *head = malloc(HEAD + 1);
    void *hash = EVP_MD_CTX_new_();
    size_t held = 0;
    for (;;) {
        char *end;
        while (!(head[held] = 0, end = strstr(head, "\r\n\r\n"))) {
            ssize_t got = held < HEAD ? recv(socket, head + held, HEAD - held, 0) : -1;
            if (got <= 0) goto closed;
            held += (size_t)got;
        }
        end += 4;
        char *field = strcasestr(head, "\r\ncontent-length:");
        size_t left = field && field < end ? strtoull(field + 17, NULL, 10) : 0, size = left;
        size_t start = held - (size_t)(end - head);
        if (start > left) goto closed; /* no pipelining */
        int file = -1;
        if (!discard) {
            char spool[4096];
            snprintf(spool, sizeof spool, "%s/spool", root);
            if ((file = open(spool, O_TMPFILE | O_RDWR | O_CLOEXEC, 0640)) < 0) die(spool);
            if (size >= READ) posix_fallocate(file, 0, (off_t)size);
            EVP_DigestInit_ex_(hash, EVP_sha256_(), NULL);
            EVP_DigestUpdate_(hash, end, start);
            write_all(file, end, start);
        }
        left -= start;
        while (left) {
            ssize_t got = recv(socket, buffer, left < READ ? left : READ, 0);
            if (got <= 0) goto closed;
            left -= (size_t)got;
            if (!discard) {
                EVP_DigestUpdate_(hash, buffer, (size_t)got);
                write_all(file, buffer, (size_t)got);
            }
        }
        unsigned char digest[32] = {0};
        char hex[65] = "", answer[400];
        if (!discard) {
            EVP_DigestFinal_ex_(hash, digest, NULL);
            publish(file, digest, hex);
            close(file);
        }
        int length = snprintf(answer, sizeof answer,
                              "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n{\"sha256\":\"%s\"}",
                              strlen(hex) + 13, hex);
        if (send(socket, answer, (size_t)length, MSG_NOSIGNAL) != length) goto closed;
        held = 0;
    }
closed:
    close(socket);
    free(buffer);
    free(head);
    return NULL;
}

static int listen_on(const char *address)
{
    int listener, one = 1;
    if (!strncmp(address, "unix:", 5)) {
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        snprintf(at.sun_path, sizeof at.sun_path, "%s", address + 5);
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(listener, (struct sockaddr *)&at, sizeof at)) die(address);
    } else {
        struct sockaddr_in at = {.sin_family = AF_INET};
        char host[64];
        int port;
        if (sscanf(address, "%63[^:]:%d", host, &port) != 2 || inet_pton(AF_INET, host, &at.sin_addr) != 1) exit(2);
        at.sin_port = htons((uint16_t)port);
        listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(listener, (struct sockaddr *)&at, sizeof at)) die(address);
    }
    if (listen(listener, 512)) die("listen");
    return listener;
}

static void *accept_all(void *argument)
{
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    for (;;) {
        int socket = accept4((int)(intptr_t)argument, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;
        if (socket < 0 || pthread_create(&thread, &detached, serve, (void *)(intptr_t)socket)) die("accept");
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 3) { fprintf(stderr, "usage: see the head of sink.c\n"); return 2; }
    root = argv[1];
    load_openssl();
    for (int i = 2; i < argc; i++) {
        if (!strcmp(argv[i], "--discard")) discard = 1;
        if (!strcmp(argv[i], "--no-sync")) sync_files = 0;
        if (!strcmp(argv[i], "--row")) with_row = 1;
    }
    char path[4096];
    mkdir(root, 0755);
    snprintf(path, sizeof path, "%s/spool", root);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/blobs", root);
    mkdir(path, 0755);
    for (int i = 0; i < 256; i++) {
        snprintf(path, sizeof path, "%s/blobs/%02x", root, i);
        mkdir(path, 0755);
        if ((folders[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) die(path);
    }
    snprintf(path, sizeof path, "%s/rows.log", root);
    if ((log_file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640)) < 0) die(path);
    for (int i = 2; i < argc; i++) {
        if (!strncmp(argv[i], "--", 2)) continue;
        pthread_t thread;
        if (pthread_create(&thread, NULL, accept_all, (void *)(intptr_t)listen_on(argv[i]))) die("pthread_create");
    }
    puts("ready");
    fflush(stdout);
    while (read(0, path, sizeof path) > 0) {}
    return 0;
}
