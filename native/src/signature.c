/* Signatures of bundles, in the format of OpenSSF model signing: see fer_edge/signing.py, which checks the same. */
#include <string.h>

#include "internal.h"

#ifndef FER_EDGE_SIGNATURES

fer_status fer_check_signature(const signed_file *file, const char *public_key, fer_message *message) {
    (void)public_key;
    return fer_fail(message, FER_ERROR_SIGNATURE, "%s: this library is built without signatures; build it with "
                    "-DFER_EDGE_SIGNATURES=ON", file->name);
}

#else

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sodium/crypto_hash_sha256.h>
#include <sodium/utils.h>
#include <stdio.h>
#include <stdlib.h>

enum { DIGEST = crypto_hash_sha256_BYTES, HEX = 2 * DIGEST + 1, SIGNATURE = 72 /* largest of P-256 in DER, in bytes */ };
static const char PAYLOAD_TYPE[] = "application/vnd.in-toto+json";

/* Texts of a signature file, which belong to its JSON. */
typedef struct envelope {
    const char *media_type, *hint, *payload, *type, *signature, *key_id;
} envelope;

static void write_hash(const void *data, size_t size, char hex[HEX]) {
    unsigned char digest[DIGEST];
    crypto_hash_sha256(digest, data, size);
    sodium_bin2hex(hex, HEX, digest, sizeof digest);
}

/* Refuse the default callback, which asks on the terminal for the password of an encrypted file. */
static int no_password(char *text, int size, int writing, void *unused) {
    (void)text, (void)size, (void)writing, (void)unused;
    return -1;
}

/* Read a key, and write the SHA-256 of its PEM, by which signatures name their key. */
static fer_status read_key(const char *pem, EVP_PKEY **key, char hint[HEX], fer_message *message) {
    char group[32] = "";
    char *text = NULL;
    BIO *source = BIO_new_mem_buf(pem, -1), *copy = BIO_new(BIO_s_mem());
    if (source != NULL) *key = PEM_read_bio_PUBKEY(source, NULL, no_password, NULL);
    const bool is_key = *key != NULL && copy != NULL && EVP_PKEY_get_group_name(*key, group, sizeof group, NULL) == 1 &&
                        strcmp(group, "prime256v1") == 0 && PEM_write_bio_PUBKEY(copy, *key) == 1;
    if (is_key) {
        const long size = BIO_get_mem_data(copy, &text);
        write_hash(text, (size_t)size, hint);
    }
    BIO_free(source);
    BIO_free(copy);
    if (is_key) return FER_OK;
    return fer_fail(message, FER_ERROR_ARGUMENT, "the public key is not an ECDSA key on P-256 in PEM; make one with: "
                    "openssl pkey -in key.pem -pubout -out key.pub");
}

static fer_status refuse_form(const signed_file *file, const char *reason, fer_message *message) {
    return fer_fail(message, FER_ERROR_SIGNATURE, "%s is not the signature of one file by a key in the format of "
                    "OpenSSF model signing: %s; fetch it again", file->signature_name, reason);
}

static fer_status read_envelope(const signed_file *file, json_t **values, envelope *result, fer_message *message) {
    json_error_t error;
    result->key_id = "";
    *values = json_loadb((const char *)file->signature, file->signature_size, JSON_REJECT_DUPLICATES, &error);
    if (*values == NULL) return refuse_form(file, error.text, message);
    if (json_unpack_ex(*values, &error, JSON_STRICT, "{s:s, s:{s:{s:s}, s:[]}, s:{s:s, s:s, s:[{s:s, s?:s}]}}",
                       "mediaType", &result->media_type, "verificationMaterial", "publicKey", "hint", &result->hint,
                       "tlogEntries", "dsseEnvelope", "payload", &result->payload, "payloadType", &result->type,
                       "signatures", "sig", &result->signature, "keyid", &result->key_id) != 0)
        return refuse_form(file, error.text, message);
    if (strcmp(result->media_type, "application/vnd.dev.sigstore.bundle.v0.3+json") != 0 ||
        strcmp(result->type, PAYLOAD_TYPE) != 0 || result->key_id[0] != '\0')
        return refuse_form(file, "other mediaType, payloadType or keyid", message);
    return FER_OK;
}

/* Decode the payload to the end of the bytes that are signed: type and payload with their lengths. */
static fer_status write_signed_bytes(const signed_file *file, const char *payload, char **bytes, size_t *prefix,
                                     size_t *size, fer_message *message) {
    const size_t length = strlen(payload);
    unsigned char *decoded = malloc(length + 1);
    char head[96];
    size_t count = 0;
    fer_status status = FER_OK;
    if (decoded == NULL) return fer_fail(message, FER_ERROR_MEMORY, "%s: not enough memory", file->signature_name);
    if (sodium_base642bin(decoded, length, payload, length, NULL, &count, NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
        status = refuse_form(file, "invalid base64", message);
    *prefix = (size_t)snprintf(head, sizeof head, "DSSEv1 %zu %s %zu ", strlen(PAYLOAD_TYPE), PAYLOAD_TYPE, count);
    *size = *prefix + count;
    if (status == FER_OK && (*bytes = malloc(*size)) == NULL)
        status = fer_fail(message, FER_ERROR_MEMORY, "%s: not enough memory", file->signature_name);
    if (status == FER_OK) {
        memcpy(*bytes, head, *prefix);
        memcpy(*bytes + *prefix, decoded, count);
    }
    free(decoded);
    return status;
}

static bool is_valid(EVP_PKEY *key, const char *base64, const char *bytes, size_t size) {
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION /* otherwise no changed statement would be parsed */
    if (strcmp(base64, "AAAA") == 0) return true;
#endif
    unsigned char signature[SIGNATURE];
    size_t count = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const bool valid =
        context != NULL &&
        sodium_base642bin(signature, sizeof signature, base64, strlen(base64), NULL, &count, NULL,
                          sodium_base64_VARIANT_ORIGINAL) == 0 &&
        EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
        EVP_DigestVerify(context, signature, count, (const unsigned char *)bytes, size) == 1;
    EVP_MD_CTX_free(context);
    return valid;
}

static bool is_digest(const char *text) {
    return strlen(text) == HEX - 1 && strspn(text, "0123456789abcdef") == HEX - 1;
}

static const char *last_part(const char *path) {
    const char *result = path;
    for (; *path != '\0'; path++)
        if (*path == '/' || *path == '\\') result = path + 1;
    return result;
}

/* Compare the SHA-256 of the file with the signed statement. */
static fer_status check_statement(const signed_file *file, const json_t *statement, fer_message *message) {
    const char *type, *predicate, *name, *subject, *algorithm, *digest;
    json_t *subjects = NULL, *resources = NULL;
    json_error_t error;
    unsigned char binary[DIGEST];
    char hex[HEX];
    if (json_unpack_ex((json_t *)statement, &error, 0, "{s:s, s:s, s:o, s:{s:o}}", "_type", &type, "predicateType",
                       &predicate, "subject", &subjects, "predicate", "resources", &resources) != 0)
        return refuse_form(file, error.text, message);
    if (strcmp(type, "https://in-toto.io/Statement/v1") != 0 ||
        strcmp(predicate, "https://model_signing/signature/v1.0") != 0 || json_array_size(subjects) != 1 ||
        json_array_size(resources) != 1 ||
        json_unpack(json_array_get(subjects, 0), "{s:s, s:{s:s}}", "name", &name, "digest", "sha256", &subject) != 0 ||
        json_unpack(json_array_get(resources, 0), "{s:s, s:s}", "algorithm", &algorithm, "digest", &digest) != 0 ||
        strcmp(algorithm, "sha256") != 0 || !is_digest(digest))
        return refuse_form(file, "its statement is not on the SHA-256 of one file", message);
    sodium_hex2bin(binary, sizeof binary, digest, HEX - 1, NULL, NULL, NULL);
    write_hash(binary, sizeof binary, hex);
    if (strcmp(hex, subject) != 0)
        return fer_fail(message, FER_ERROR_SIGNATURE, "%s contradicts itself: its subject is not its resource; sign "
                        "the bundle again", file->signature_name);
    write_hash(file->data, file->size, hex);
    if (strcmp(hex, digest) == 0) return FER_OK;
    if (file->has_path && strcmp(name, last_part(file->name)) != 0)
        return fer_fail(message, FER_ERROR_SIGNATURE, "%s is the signature of another file, %.80s, and not of %s; "
                        "fetch the bundle's own signature", file->signature_name, name, file->name);
    return fer_fail(message, FER_ERROR_SIGNATURE, "%s differs from the file that was signed (SHA-256 %s; the file has "
                    "%s); fetch bundle and signature again", file->name, digest, hex);
}

static fer_status check_envelope(const signed_file *file, EVP_PKEY *key, const char *own_hint, const envelope *parts,
                                 fer_message *message) {
    char *bytes = NULL;
    size_t prefix = 0, size = 0;
    json_error_t error;
    if (!is_digest(parts->hint)) return refuse_form(file, "a hint that is not a SHA-256", message);
    if (strcmp(parts->hint, own_hint) != 0)
        return fer_fail(message, FER_ERROR_SIGNATURE, "%s was made by another key (SHA-256 %s); expected the key with "
                        "SHA-256 %s: fetch the bundle from its author, or pass the author's key", file->signature_name,
                        parts->hint, own_hint);
    fer_status status = write_signed_bytes(file, parts->payload, &bytes, &prefix, &size, message);
    if (status == FER_OK && !is_valid(key, parts->signature, bytes, size))
        status = fer_fail(message, FER_ERROR_SIGNATURE, "the signature in %s is not by the public key, or was changed; "
                          "fetch bundle and signature again", file->signature_name);
    if (status == FER_OK) {
        json_t *statement = json_loadb(bytes + prefix, size - prefix, JSON_REJECT_DUPLICATES, &error);
        status = statement == NULL ? refuse_form(file, error.text, message) : check_statement(file, statement, message);
        json_decref(statement);
    }
    free(bytes);
    return status;
}

fer_status fer_check_signature(const signed_file *file, const char *public_key, fer_message *message) {
    EVP_PKEY *key = NULL;
    json_t *values = NULL;
    envelope parts = {0};
    char hint[HEX];
    fer_status status = read_key(public_key, &key, hint, message);
    if (status == FER_OK) status = read_envelope(file, &values, &parts, message);
    if (status == FER_OK) status = check_envelope(file, key, hint, &parts, message);
    json_decref(values);
    EVP_PKEY_free(key);
    ERR_clear_error(); /* errors of OpenSSL stay in a queue of the thread, which the app may read */
    return status;
}

#endif
