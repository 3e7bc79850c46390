/* Digits in an array that holds every double from end to end. */
#include "hydra/decimal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

enum { DIGITS = 28 };

void decimal_set(Decimal *d, double number)
{
    char text[DECIMAL_SIZE + 8];
    memset(d, 0, sizeof *d);
    d->minus = signbit(number);
    int size = snprintf(text, sizeof text, "%.*f", DECIMAL_PART, fabs(number));
    CHECK(size > DECIMAL_PART && size <= DECIMAL_SIZE + 1, "not a finite number");
    int whole = size - DECIMAL_PART - 1;
    for (int i = 0; i < whole; i++)
        d->digit[DECIMAL_WHOLE - whole + i] = (unsigned char)(text[i] - '0');
    for (int i = 0; i < DECIMAL_PART; i++)
        d->digit[DECIMAL_WHOLE + i] = (unsigned char)(text[whole + 1 + i] - '0');
}

double decimal_get(const Decimal *d)
{
    char text[DECIMAL_SIZE + 4], *s = text;
    *s++ = d->minus ? '-' : '+';
    for (int i = 0; i < DECIMAL_SIZE; i++) {
        if (i == DECIMAL_WHOLE) *s++ = '.';
        *s++ = (char)('0' + d->digit[i]);
    }
    *s = 0;
    return strtod(text, NULL);
}

static int compare_size(const Decimal *a, const Decimal *b)
{
    return memcmp(a->digit, b->digit, sizeof a->digit);
}

/* Half to even after the highest digits. */
static void round_off(Decimal *d)
{
    int first = 0;
    while (first < DECIMAL_SIZE && d->digit[first] == 0) first++;
    int cut = first + DIGITS;
    if (cut >= DECIMAL_SIZE) return;
    bool more = false;
    for (int i = cut + 1; i < DECIMAL_SIZE; i++) more = more || d->digit[i];
    bool up = d->digit[cut] > 5 || (d->digit[cut] == 5 && (more || d->digit[cut - 1] % 2));
    memset(d->digit + cut, 0, (size_t)(DECIMAL_SIZE - cut));
    for (int i = cut - 1; up && i >= 0; i--) {
        up = d->digit[i] == 9;
        d->digit[i] = up ? 0 : (unsigned char)(d->digit[i] + 1);
    }
}

/* out = large - small, by size alone. */
static void subtract(Decimal *out, const Decimal *large, const Decimal *small)
{
    int borrow = 0;
    for (int i = DECIMAL_SIZE - 1; i >= 0; i--) {
        int v = large->digit[i] - small->digit[i] - borrow;
        borrow = v < 0;
        out->digit[i] = (unsigned char)(v + 10 * borrow);
    }
}

void decimal_add(Decimal *d, const Decimal *step)
{
    if (d->minus == step->minus) {
        int carry = 0;
        for (int i = DECIMAL_SIZE - 1; i >= 0; i--) {
            int v = d->digit[i] + step->digit[i] + carry;
            carry = v > 9;
            d->digit[i] = (unsigned char)(v - 10 * carry);
        }
    } else if (compare_size(d, step) >= 0) {
        subtract(d, d, step);
    } else {
        subtract(d, step, d);
        d->minus = step->minus;
    }
    round_off(d);
}

static bool is_zero(const Decimal *d)
{
    for (int i = 0; i < DECIMAL_SIZE; i++) {
        if (d->digit[i]) return false;
    }
    return true;
}

int decimal_compare(const Decimal *a, const Decimal *b)
{
    bool x = a->minus && !is_zero(a), y = b->minus && !is_zero(b);
    if (x != y) return x ? -1 : 1;
    return x ? compare_size(b, a) : compare_size(a, b);
}
