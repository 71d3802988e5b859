/* SHA-256 of OpenSSL's libcrypto, declared here and loaded at run time, so that its headers need not be installed. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static void *(*EVP_MD_CTX_new_)(void);
static void *(*EVP_sha256_)(void);
static int (*EVP_DigestInit_ex_)(void *, const void *, void *);
static int (*EVP_DigestUpdate_)(void *, const void *, size_t);
static int (*EVP_DigestFinal_ex_)(void *, unsigned char *, unsigned *);

static void load_openssl(void)
{
    void *library = dlopen("libcrypto.so.3", RTLD_NOW);
    if (!library) library = dlopen("libcrypto.so", RTLD_NOW);
    if (!library) { fprintf(stderr, "%s\n", dlerror()); exit(3); }
    *(void **)&EVP_MD_CTX_new_ = dlsym(library, "EVP_MD_CTX_new");
    *(void **)&EVP_sha256_ = dlsym(library, "EVP_sha256");
    *(void **)&EVP_DigestInit_ex_ = dlsym(library, "EVP_DigestInit_ex");
    *(void **)&EVP_DigestUpdate_ = dlsym(library, "EVP_DigestUpdate");
    *(void **)&EVP_DigestFinal_ex_ = dlsym(library, "EVP_DigestFinal_ex");
}
