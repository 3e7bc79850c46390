/* Sums of floats as Python's decimal module makes them: exact, then rounded to 28 digits. That is
 * how the steps of a float range are counted, so that three times 0.1 is 0.3. */
#ifndef TTT_HYDRA_DECIMAL_H
#define TTT_HYDRA_DECIMAL_H

#include <stdbool.h>

enum { DECIMAL_WHOLE = 310, DECIMAL_PART = 1080, DECIMAL_SIZE = DECIMAL_WHOLE + DECIMAL_PART };

typedef struct Decimal {
    bool minus;
    int first, last;                   /* digits outside of these are 0 */
    unsigned char digit[DECIMAL_SIZE]; /* the highest first */
} Decimal;

/* A finite number, exactly. */
void decimal_set(Decimal *d, double number);
double decimal_get(const Decimal *d);
/* d += step, rounded. */
void decimal_add(Decimal *d, const Decimal *step);
/* Below 0, 0 or above 0 as a is less than, equal to or more than b. */
int decimal_compare(const Decimal *a, const Decimal *b);

#endif
