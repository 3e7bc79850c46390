# shellcheck shell=bash
# Sourced by tools: reads JSON as ttt prints it, one value a line, without another program.

# Every plain value of FILE as PATH<TAB>VALUE: columns.0.all.mean	1.85. Texts lose their quotes.
json_flat() { # FILE
    LC_ALL=C awk '
        function path(key,    i, p) {
            for (i = 1; i < depth; i++) p = p name[i + 1] "."
            return p key
        }
        {
            line = $0
            sub(/^[ \t]+/, "", line)
            sub(/,$/, "", line)
            if (line ~ /^[]}]/) { depth--; next }
            if (match(line, /^"([^"\\]|\\.)*": /)) {
                key = substr(line, 2, RLENGTH - 4)
                line = substr(line, RLENGTH + 1)
            } else {
                key = depth ? item[depth]++ : ""
            }
            if (line == "{" || line == "[") { name[++depth] = key; item[depth] = 0; next }
            if (line ~ /^"/) line = substr(line, 2, length(line) - 2)
            print path(key) "\t" line
        }' "$1"
}

# The value at PATH in FILE, or the text "-" where there is none.
json_get() { # FILE PATH
    json_flat "$1" | awk -F '\t' -v path="$2" '$1 == path && !found { print $2; found = 1 }
        END { if (!found) print "-" }'
}
