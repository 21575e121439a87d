// SPDX-License-Identifier: Apache-2.0
/*
 * What is compiled to see how long that takes: made large by the preprocessor, and the same everywhere.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP(n)                                                          \
	static uint64_t step##n(const uint64_t *v, size_t len, uint64_t seed) \
	{                                                                \
		uint64_t sum = seed ^ n;                                 \
		for (size_t i = 0; i < len; i++) {                       \
			if (v[i] % (n + 2) == 0)                         \
				sum += v[i] << (n % 13);                 \
			else if (v[i] > sum)                             \
				sum ^= v[i] * (2 * n + 1);               \
			else                                             \
				sum = (sum >> 3) | (sum << 61);          \
		}                                                        \
		return sum;                                              \
	}
#define TEN(n) STEP(n##0) STEP(n##1) STEP(n##2) STEP(n##3) STEP(n##4) STEP(n##5) STEP(n##6) STEP(n##7) STEP(n##8) STEP(n##9)
#define CALL(n) sum = step##n(v, 64, sum);
#define CALL_TEN(n) CALL(n##0) CALL(n##1) CALL(n##2) CALL(n##3) CALL(n##4) CALL(n##5) CALL(n##6) CALL(n##7) CALL(n##8) CALL(n##9)

TEN(1) TEN(2) TEN(3) TEN(4) TEN(5) TEN(6) TEN(7) TEN(8) TEN(9)
TEN(11) TEN(12) TEN(13) TEN(14) TEN(15) TEN(16) TEN(17) TEN(18) TEN(19)

int main(void)
{
	uint64_t v[64], sum = 1;

	for (size_t i = 0; i < 64; i++)
		v[i] = sum = sum * 6364136223846793005ULL + 1442695040888963407ULL;
	CALL_TEN(1) CALL_TEN(2) CALL_TEN(3) CALL_TEN(4) CALL_TEN(5) CALL_TEN(6) CALL_TEN(7) CALL_TEN(8) CALL_TEN(9)
	CALL_TEN(11) CALL_TEN(12) CALL_TEN(13) CALL_TEN(14) CALL_TEN(15) CALL_TEN(16) CALL_TEN(17) CALL_TEN(18) CALL_TEN(19)
	printf("%llu\n", (unsigned long long)sum);
	return 0;
}
