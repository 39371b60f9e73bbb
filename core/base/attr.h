/* In: nothing. Out: the attributes every header uses, spelled once, empty where a compiler lacks them.
 * Why: clang's -Wthread-safety proves the lock rules of docs/threads.md at compile time; gcc ignores them. */
#pragma once

#define NODISCARD __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

#if defined(__clang__)
#define THREAD_ATTR(x) __attribute__((x))
#else
#define THREAD_ATTR(x)
#endif

#define CAPABILITY(name) THREAD_ATTR(capability(name))
#define GUARDED_BY(x) THREAD_ATTR(guarded_by(x))
#define REQUIRES(...) THREAD_ATTR(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) THREAD_ATTR(requires_shared_capability(__VA_ARGS__))
#define ACQUIRE(...) THREAD_ATTR(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) THREAD_ATTR(acquire_shared_capability(__VA_ARGS__))
#define RELEASE(...) THREAD_ATTR(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) THREAD_ATTR(release_shared_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS THREAD_ATTR(no_thread_safety_analysis)
