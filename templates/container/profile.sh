# Read by every login shell, after /etc/profile has set a search path of its own.

# The container's search path, as written at its start.
if [ -r /run/symposium/path ]; then
    read -r PATH < /run/symposium/path
    export PATH
fi

. /etc/symposium/term.sh
{% if role == "agent" %}
# Keeps the history of a shell that ends with its container.
PROMPT_COMMAND='history -a'
{% endif -%}
