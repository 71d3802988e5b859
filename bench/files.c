/* The limit for commands over many files: what has to be done to the files, and no more.
 *
 *   files read FOLDER                  have every file below FOLDER in the page cache
 *   files hash FOLDER                  read every file and hash it
 *   files copy FOLDER TO [--jobs N]    hash it, and write it to TO/<xx>/<its SHA-256>: fdatasynced, linked, and the folder
 *                                      fsynced, one file after the other, or N at a time
 *   files sync FOLDER                  fsync every file and every folder, as somebody does who used cp
 *
 * SHA-256 is that of OpenSSL. Prints how many files (for sync, and folders) there were, and their bytes.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sha256.h"

enum { READ = 1024 * 1024, MOST_JOBS = 64 };

static char **paths;
static size_t count, room;
static atomic_size_t next;
static atomic_ullong total;
static int is_hash, is_copy, is_sync, folders[256];
static const char *to;

static void die(const char *what) { perror(what); exit(2); }

static int note(const char *path, const struct stat *status, int kind, struct FTW *at)
{
    (void)status, (void)at;
    if (kind != FTW_F && !(is_sync && kind == FTW_DP)) return 0;
    if (count == room && !(paths = realloc(paths, (room = room ? 2 * room : 1024) * sizeof *paths))) die("realloc");
    paths[count++] = strdup(path);
    return 0;
}

static void publish(int file, const unsigned char *digest)
{
    char from[64], hex[65];
    for (int i = 0; i < 32; i++) sprintf(hex + 2 * i, "%02x", digest[i]);
    if (fdatasync(file)) die("fdatasync");
    snprintf(from, sizeof from, "/proc/self/fd/%d", file);
    if (linkat(AT_FDCWD, from, folders[digest[0]], hex, AT_SYMLINK_FOLLOW)) die("linkat");
    if (fsync(folders[digest[0]])) die("fsync");
}

static void handle(const char *path, char *buffer, void *hash)
{
    int file = open(path, O_RDONLY | O_CLOEXEC), copy = -1;
    struct stat status;
    if (file < 0 || fstat(file, &status)) die(path);
    if (is_sync && fsync(file)) die(path);
    if (S_ISREG(status.st_mode)) total += (unsigned long long)status.st_size;
    if (is_copy && (copy = open(to, O_TMPFILE | O_RDWR | O_CLOEXEC, 0640)) < 0) die(to);
    if (is_copy && status.st_size && posix_fallocate(copy, 0, status.st_size)) die("fallocate");
    if (is_hash) EVP_DigestInit_ex_(hash, EVP_sha256_(), NULL);
    for (ssize_t got; !is_sync && (got = read(file, buffer, READ));) {
        if (got < 0) die(path);
        if (is_hash) EVP_DigestUpdate_(hash, buffer, (size_t)got);
        if (is_copy && write(copy, buffer, (size_t)got) != got) die("write");
    }
    unsigned char digest[32];
    if (is_hash) EVP_DigestFinal_ex_(hash, digest, NULL);
    if (is_copy) {
        publish(copy, digest);
        close(copy);
    }
    close(file);
}

static void *work(void *argument)
{
    char *buffer = malloc(READ);
    void *hash = is_hash ? EVP_MD_CTX_new_() : NULL;
    for (size_t at; (at = next++) < count;) handle(paths[at], buffer, hash);
    return argument;
}

int main(int argc, char **argv)
{
    int jobs = 1;
    if (argc > 4 && !strcmp(argv[argc - 2], "--jobs")) {
        jobs = atoi(argv[argc - 1]);
        argc -= 2;
    }
    if (argc != (argc > 1 && !strcmp(argv[1], "copy") ? 4 : 3) || jobs < 1 || jobs > MOST_JOBS) { fprintf(stderr, "usage: see the head of files.c\n"); return 2; }
    is_copy = !strcmp(argv[1], "copy");
    is_hash = is_copy || !strcmp(argv[1], "hash");
    is_sync = !strcmp(argv[1], "sync");
    if (is_hash) load_openssl();
    if (is_copy) {
        to = argv[3];
        mkdir(to, 0755);
        for (int i = 0; i < 256; i++) {
            char path[4096];
            snprintf(path, sizeof path, "%s/%02x", to, i);
            mkdir(path, 0755);
            if ((folders[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0) die(path);
        }
    }
    if (nftw(argv[2], note, 64, FTW_PHYS | FTW_DEPTH)) die(argv[2]);
    pthread_t threads[MOST_JOBS];
    for (int i = 1; i < jobs; i++)
        if (pthread_create(&threads[i], NULL, work, NULL)) die("pthread_create");
    work(NULL);
    for (int i = 1; i < jobs; i++) pthread_join(threads[i], NULL);
    printf("%zu %llu\n", count, (unsigned long long)total);
    return 0;
}
