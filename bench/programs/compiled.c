// SPDX-License-Identifier: Apache-2.0
/*
 * What is compiled to see how long that takes: made large by the preprocessor, and the same
 * everywhere. With SHORT it is an eighteenth of that.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP(n)                                                               \
	static uint64_t step##n(const uint64_t *v, size_t len, uint64_t seed) \
	{                                                                     \
		uint64_t sum = seed ^ n;                                      \
		for (size_t i = 0; i < len; i++) {                            \
			if (v[i] % (n + 2) == 0)                              \
				sum += v[i] << (n % 13);                      \
			else if (v[i] > sum)                                  \
				sum ^= v[i] * (2 * n + 1);                    \
			else                                                  \
				sum = (sum >> 3) | (sum << 61);               \
		}                                                             \
		return sum;                                                   \
	}
#define TEN(n)     \
	STEP(n##0) \
	STEP(n##1) \
	STEP(n##2) STEP(n##3) STEP(n##4) STEP(n##5) STEP(n##6) STEP(n##7) STEP(n##8) STEP(n##9)
#define CALL(n) sum = step##n(v, 64, sum);
#define CALL_TEN(n) \
	CALL(n##0)  \
	CALL(n##1)  \
	CALL(n##2) CALL(n##3) CALL(n##4) CALL(n##5) CALL(n##6) CALL(n##7) CALL(n##8) CALL(n##9)

#ifdef SHORT
#define MANY(each) each(1)
#else
#define MANY(each)                                                                                \
	each(1) each(2) each(3) each(4) each(5) each(6) each(7) each(8) each(9) each(11) each(12) \
		each(13) each(14) each(15) each(16) each(17) each(18) each(19)
#endif

MANY(TEN)

int main(void)
{
	uint64_t v[64], sum = 1;

	for (size_t i = 0; i < 64; i++)
		v[i] = sum = sum * 6364136223846793005ULL + 1442695040888963407ULL;
	MANY(CALL_TEN)
	printf("%llu\n", (unsigned long long)sum);
	return 0;
}
