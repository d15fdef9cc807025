/* Files and messages: the only source that depends on the operating system. */
#define _FILE_OFFSET_BITS 64
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#ifdef _WIN32
#include <windows.h>
#endif

#include "internal.h"

#ifdef FER_EDGE_WRAP_STDIN
FILE *__wrap_stdin; /* see CMakeLists.txt */
#endif

fer_status fer_fail(fer_message *message, fer_status status, const char *format, ...) {
    if (message != NULL) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(message->text, sizeof message->text, format, arguments);
        va_end(arguments);
        for (char *place = message->text; *place != '\0'; place++) /* one line, also with a path or JSON of any bytes */
            if ((unsigned char)*place < 0x20 || *place == 0x7f) *place = '?';
    }
    return status;
}

#ifdef _WIN32
static FILE *open_regular(const char *path, uint64_t *size) {
    wchar_t wide[32768];
    struct _stat64 entry;
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, 32768) == 0) {
        errno = EINVAL;
        return NULL;
    }
    if (_wstat64(wide, &entry) != 0) return NULL;
    *size = (uint64_t)entry.st_size;
    errno = EISDIR;
    return (entry.st_mode & _S_IFREG) ? _wfopen(wide, L"rb") : NULL;
}
#else
static FILE *open_regular(const char *path, uint64_t *size) {
    struct stat entry;
    if (stat(path, &entry) != 0) return NULL;
    *size = (uint64_t)entry.st_size;
    errno = S_ISDIR(entry.st_mode) ? EISDIR : ESPIPE; /* opening a pipe would wait for its writer */
    return S_ISREG(entry.st_mode) ? fopen(path, "rb") : NULL;
}
#endif

fer_status fer_read_file(const char *path, uint64_t limit, uint8_t **data, size_t *size, fer_message *message) {
    uint64_t bytes = 0;
    FILE *file = open_regular(path, &bytes);
    if (file == NULL)
        return fer_fail(message, FER_ERROR_FILE, "%s cannot be read: %s; expected a bundle (.fer)", path,
                        strerror(errno));
    fer_status status = FER_OK;
    if (bytes > limit || bytes > SIZE_MAX) {
        status = fer_fail(message, FER_ERROR_BUNDLE, "%s has more than %llu bytes; expected a bundle", path,
                          (unsigned long long)limit);
    } else if ((*data = malloc(bytes > 0 ? (size_t)bytes : 1)) == NULL) {
        status = fer_fail(message, FER_ERROR_MEMORY, "%s: not enough memory to read it", path);
    } else {
        *size = fread(*data, 1, (size_t)bytes, file);
        if (*size != bytes) {
            free(*data);
            *data = NULL;
            status = fer_fail(message, FER_ERROR_FILE, "%s cannot be read: it ended or failed after %zu bytes", path,
                              *size);
        }
    }
    fclose(file);
    return status;
}
