# Read by login shells and by all others of bash: a terminal that the image does not know, such as a newer
# emulator's, would keep programs from starting.
if [ -n "${TERM-}" ] && ! infocmp "$TERM" > /dev/null 2>&1; then
    export TERM=xterm-256color
fi
