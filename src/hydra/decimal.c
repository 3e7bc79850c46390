/* Digits in an array that holds every double from end to end. */
#include "hydra/decimal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

enum { DIGITS = 28 };

/* Narrows the extent to the digits that are not 0; of 0 one digit is left. */
static void extent_renew(Decimal *d)
{
    while (d->first < d->last && d->digit[d->first] == 0) d->first++;
    while (d->last > d->first && d->digit[d->last] == 0) d->last--;
}

void decimal_set(Decimal *d, double number)
{
    char text[DECIMAL_SIZE + 8];
    memset(d, 0, sizeof *d);
    d->minus = signbit(number);
    d->last = DECIMAL_SIZE - 1;
    int size = snprintf(text, sizeof text, "%.*f", DECIMAL_PART, fabs(number));
    CHECK(size > DECIMAL_PART && size <= DECIMAL_SIZE + 1, "not a finite number");
    int whole = size - DECIMAL_PART - 1;
    for (int i = 0; i < whole; i++)
        d->digit[DECIMAL_WHOLE - whole + i] = (unsigned char)(text[i] - '0');
    for (int i = 0; i < DECIMAL_PART; i++)
        d->digit[DECIMAL_WHOLE + i] = (unsigned char)(text[whole + 1 + i] - '0');
    extent_renew(d);
}

double decimal_get(const Decimal *d)
{
    char text[DECIMAL_SIZE + 16], *s = text;
    *s++ = d->minus ? '-' : '+';
    for (int i = d->first; i <= d->last; i++) *s++ = (char)('0' + d->digit[i]);
    snprintf(s, 14, "e%d", DECIMAL_WHOLE - 1 - d->last);
    return strtod(text, NULL);
}

static int compare_size(const Decimal *a, const Decimal *b)
{
    return memcmp(a->digit, b->digit, sizeof a->digit);
}

/* Half to even after the highest digits. */
static void round_off(Decimal *d)
{
    extent_renew(d);
    int cut = d->first + DIGITS;
    if (cut > d->last) return;
    bool more = d->last > cut;
    bool up = d->digit[cut] > 5 || (d->digit[cut] == 5 && (more || d->digit[cut - 1] % 2));
    memset(d->digit + cut, 0, (size_t)(d->last + 1 - cut));
    for (int i = cut - 1; up && i >= 0; i--) {
        up = d->digit[i] == 9;
        d->digit[i] = up ? 0 : (unsigned char)(d->digit[i] + 1);
        if (i < d->first) d->first = i;
    }
    d->last = cut - 1;
    extent_renew(d);
}

/* out = large - small, by size alone. */
static void subtract(Decimal *out, const Decimal *large, const Decimal *small)
{
    int borrow = 0;
    for (int i = out->last; i >= out->first; i--) {
        int v = large->digit[i] - small->digit[i] - borrow;
        borrow = v < 0;
        out->digit[i] = (unsigned char)(v + 10 * borrow);
    }
}

static bool is_zero(const Decimal *d)
{
    return d->first == d->last && d->digit[d->first] == 0;
}

void decimal_add(Decimal *d, const Decimal *step)
{
    if (step->first < d->first) d->first = step->first;
    if (step->last > d->last) d->last = step->last;
    if (d->minus == step->minus) {
        int carry = 0;
        if (d->first > 0) d->first--;
        for (int i = d->last; i >= d->first; i--) {
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
    if (is_zero(d)) d->minus = false;
}

int decimal_compare(const Decimal *a, const Decimal *b)
{
    bool x = a->minus && !is_zero(a), y = b->minus && !is_zero(b);
    if (x != y) return x ? -1 : 1;
    return x ? compare_size(b, a) : compare_size(a, b);
}
