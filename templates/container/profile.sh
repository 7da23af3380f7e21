# Read by every login shell, after /etc/profile has set a search path of its own.

# The container's search path, as written at its start.
if [ -r /run/symposium/path ]; then
    read -r PATH < /run/symposium/path
    export PATH
fi

# A terminal that the image does not know, such as a newer emulator's.
if [ -n "${TERM-}" ] && ! infocmp "$TERM" > /dev/null 2>&1; then
    export TERM=xterm-256color
fi
{% if role == "agent" %}
# Keeps the history of a shell that ends with its container.
PROMPT_COMMAND='history -a'
{% endif -%}
