/*
 * A PKCS#11 module in front of another that counts signatures, for tests: which key signed what, told by the calls
 * themselves and not by the program under test.
 *
 *   KEYMAN_SHIM_MODULE  the real module
 *   KEYMAN_SHIM_LOG     one line per successful signature: CKA_ID of the key in hex, blank, data given to C_Sign in hex
 *                       ("-" for a signature in parts). Appended by one write(2) before C_Sign returns, so that it is
 *                       there whatever happens to the program next
 *   KEYMAN_SHIM_LOGINS  optional: one line per C_Login with its CK_RV
 *   KEYMAN_SHIM_FAULT   optional: a file with "fail CK_RV", "delay MILLISECONDS", "close 0" or "spoil BYTE". The next
 *                       C_Sign removes it, and fails without reaching the real module, or waits first, or first closes
 *                       every session of the token, which also logs out, or gives a signature with a bit of that byte changed
 *   KEYMAN_SHIM_DELAY_MS  optional: every C_Sign takes so much longer, as over a network
 *   KEYMAN_SHIM_HIDE    optional: mechanisms that C_GetMechanismList leaves out, decimal, with commas between
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CK_PTR *
#define CK_DEFINE_FUNCTION(returnType, name) returnType name
#define CK_DECLARE_FUNCTION(returnType, name) returnType name
#define CK_DECLARE_FUNCTION_POINTER(returnType, name) returnType(*name)
#define CK_CALLBACK_FUNCTION(returnType, name) returnType(*name)
#ifndef NULL_PTR
#define NULL_PTR 0
#endif
#include <pkcs11/pkcs11.h>

#define SESSIONS 4096
#define ID_BYTES 64

static CK_FUNCTION_LIST_PTR real;
static CK_FUNCTION_LIST shim;
static int signatures = -1, logins = -1;
static const char *fault, *hide;
static useconds_t delay;

/* The key of the signature that is under way in each session. */
static struct { CK_SESSION_HANDLE session; CK_ULONG length; CK_BYTE id[ID_BYTES]; } under_way[SESSIONS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/*
 * A fault closes sessions that other threads are using, as a token does that is pulled out. SoftHSM frees a session without
 * asking who is inside it (2.6.1: the process dies), so that the calls a server makes as it runs are counted in and out.
 */
static pthread_rwlock_t inside = PTHREAD_RWLOCK_INITIALIZER;

static CK_RV leave(CK_RV rv) {
  pthread_rwlock_unlock(&inside);
  return rv;
}
#define CALL_REAL(call) (pthread_rwlock_rdlock(&inside), leave(real->call))

static int slot_of(CK_SESSION_HANDLE session) {
  int empty = -1;
  for (int i = 0; i < SESSIONS; i++) {
    if (under_way[i].session == session) return i;
    if (under_way[i].session == CK_INVALID_HANDLE && empty < 0) empty = i;
  }
  return empty;
}

static size_t hex(char *out, const CK_BYTE *bytes, CK_ULONG length) {
  for (CK_ULONG i = 0; i < length; i++) sprintf(out + 2 * i, "%02x", bytes[i]);
  return 2 * length;
}

/* A signature that can't be written down must not be handed out: the count would be wrong. */
static void append(int file, const char *line, size_t length) {
  if (file >= 0 && write(file, line, length) != (ssize_t)length) abort();
}

static void log_signature(CK_SESSION_HANDLE session, const CK_BYTE *data, CK_ULONG length) {
  char *line = malloc(2 * ID_BYTES + 2 * length + 4);
  if (!line) abort();
  pthread_mutex_lock(&lock);
  int i = slot_of(session);
  size_t at = 0;
  if (i >= 0 && under_way[i].session == session) {
    at = hex(line, under_way[i].id, under_way[i].length);
    under_way[i].session = CK_INVALID_HANDLE;
  }
  pthread_mutex_unlock(&lock);
  line[at++] = ' ';
  if (data) at += hex(line + at, data, length);
  else line[at++] = '-';
  line[at++] = '\n';
  append(signatures, line, at);
  free(line);
}

/* `spoil`: the byte of the signature that is to be changed, where that is the fault. */
static CK_RV take_fault(CK_SESSION_HANDLE session, unsigned long *spoil) {
  if (!fault) return CKR_OK;
  FILE *file = fopen(fault, "r");
  if (!file) return CKR_OK;
  char word[16] = "";
  unsigned long number = 0;
  int read = fscanf(file, "%15s %lu", word, &number);
  fclose(file);
  if (read != 2 || unlink(fault) != 0) return CKR_OK; /* another thread took it */
  if (strcmp(word, "fail") == 0) return number;
  if (strcmp(word, "spoil") == 0) {
    *spoil = number;
    return CKR_OK;
  }
  if (strcmp(word, "close") != 0) {
    usleep(number * 1000);
    return CKR_OK;
  }
  CK_SESSION_INFO info;
  pthread_rwlock_wrlock(&inside);
  if (real->C_GetSessionInfo(session, &info) == CKR_OK) real->C_CloseAllSessions(info.slotID);
  return leave(CKR_OK);
}

static CK_RV sign_init(CK_SESSION_HANDLE session, CK_MECHANISM_PTR mechanism, CK_OBJECT_HANDLE key) {
  CK_RV rv = CALL_REAL(C_SignInit(session, mechanism, key));
  if (rv != CKR_OK) return rv;
  CK_BYTE id[ID_BYTES];
  CK_ATTRIBUTE attribute = {CKA_ID, id, sizeof id};
  CK_RV found = CALL_REAL(C_GetAttributeValue(session, key, &attribute, 1));
  if (found != CKR_OK || attribute.ulValueLen > sizeof id) attribute.ulValueLen = 0;
  pthread_mutex_lock(&lock);
  int i = slot_of(session);
  if (i < 0) abort();
  under_way[i].session = session;
  under_way[i].length = attribute.ulValueLen;
  memcpy(under_way[i].id, id, attribute.ulValueLen);
  pthread_mutex_unlock(&lock);
  return CKR_OK;
}

static CK_RV sign(CK_SESSION_HANDLE session, CK_BYTE_PTR data, CK_ULONG length, CK_BYTE_PTR signature, CK_ULONG_PTR signature_length) {
  if (signature && delay) usleep(delay);
  unsigned long spoil = ULONG_MAX;
  CK_RV rv = signature ? take_fault(session, &spoil) : CKR_OK;
  if (rv == CKR_OK) rv = CALL_REAL(C_Sign(session, data, length, signature, signature_length));
  if (rv == CKR_OK && signature && spoil < *signature_length) signature[spoil] ^= 1;
  if (rv == CKR_OK && signature) log_signature(session, data, length);
  return rv;
}

static CK_RV sign_final(CK_SESSION_HANDLE session, CK_BYTE_PTR signature, CK_ULONG_PTR length) {
  CK_RV rv = CALL_REAL(C_SignFinal(session, signature, length));
  if (rv == CKR_OK && signature) log_signature(session, NULL, 0);
  return rv;
}

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin, CK_ULONG length) {
  CK_RV rv = CALL_REAL(C_Login(session, user, pin, length));
  char line[32];
  append(logins, line, (size_t)snprintf(line, sizeof line, "%lu\n", rv));
  return rv;
}

static CK_RV find_objects_init(CK_SESSION_HANDLE session, CK_ATTRIBUTE_PTR template, CK_ULONG count) {
  return CALL_REAL(C_FindObjectsInit(session, template, count));
}

static CK_RV find_objects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE_PTR objects, CK_ULONG max, CK_ULONG_PTR count) {
  return CALL_REAL(C_FindObjects(session, objects, max, count));
}

static CK_RV find_objects_final(CK_SESSION_HANDLE session) {
  return CALL_REAL(C_FindObjectsFinal(session));
}

static CK_RV get_attribute_value(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_PTR template, CK_ULONG count) {
  return CALL_REAL(C_GetAttributeValue(session, object, template, count));
}

static int hidden(CK_MECHANISM_TYPE mechanism) {
  for (const char *at = hide; at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
    if (strtoul(at, NULL, 10) == mechanism) return 1;
  return 0;
}

/* The count that is asked for first may be too large: the standard allows that. */
static CK_RV get_mechanism_list(CK_SLOT_ID slot, CK_MECHANISM_TYPE_PTR list, CK_ULONG_PTR count) {
  CK_RV rv = real->C_GetMechanismList(slot, list, count);
  if (rv != CKR_OK || !list) return rv;
  CK_ULONG kept = 0;
  for (CK_ULONG i = 0; i < *count; i++)
    if (!hidden(list[i])) list[kept++] = list[i];
  *count = kept;
  return CKR_OK;
}

static CK_RV finalize(CK_VOID_PTR reserved) {
  pthread_mutex_lock(&lock);
  memset(under_way, 0, sizeof under_way);
  pthread_mutex_unlock(&lock);
  return real->C_Finalize(reserved);
}

static CK_RV get_function_list(CK_FUNCTION_LIST_PTR_PTR list) {
  *list = &shim;
  return CKR_OK;
}

static int append_to(const char *variable) {
  const char *path = getenv(variable);
  return path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
}

/* Called once, before there are threads: the environment is read here only. */
CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list) {
  if (!real) {
    const char *path = getenv("KEYMAN_SHIM_MODULE");
    void *module = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    CK_C_GetFunctionList get = module ? (CK_C_GetFunctionList)dlsym(module, "C_GetFunctionList") : NULL;
    if (!get || get(&real) != CKR_OK) return CKR_GENERAL_ERROR;
    signatures = append_to("KEYMAN_SHIM_LOG");
    logins = append_to("KEYMAN_SHIM_LOGINS");
    fault = getenv("KEYMAN_SHIM_FAULT");
    hide = getenv("KEYMAN_SHIM_HIDE");
    const char *milliseconds = getenv("KEYMAN_SHIM_DELAY_MS");
    delay = milliseconds ? (useconds_t)atoi(milliseconds) * 1000 : 0;
    if (signatures < 0) return CKR_GENERAL_ERROR;
    shim = *real;
    shim.C_GetFunctionList = get_function_list;
    shim.C_SignInit = sign_init;
    shim.C_Sign = sign;
    shim.C_SignFinal = sign_final;
    shim.C_Login = login;
    shim.C_FindObjectsInit = find_objects_init;
    shim.C_FindObjects = find_objects;
    shim.C_FindObjectsFinal = find_objects_final;
    shim.C_GetAttributeValue = get_attribute_value;
    shim.C_GetMechanismList = get_mechanism_list;
    shim.C_Finalize = finalize;
  }
  return get_function_list(list);
}
