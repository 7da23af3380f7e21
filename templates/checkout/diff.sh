# What has been changed in a checkout since a commit.
#
#   sh -c THIS diff COMMIT FORM END
#
# It begins with what is left out: how many paths, and then each with the reason; a zero byte after each
# of these. END is written when everything has been: without it, what came before is not all there is.
commit=$1 form=$2 end=$3

if [ "$form" = commits ]; then
    # Those of submodules come after.
    LOG=$(cat <<'LOG'
place=$0 old=$1 new=$2
[ "$old" != - ] && [ "$new" != - ] || exit 0
name=$(printf %s "$place" | tr '[:cntrl:]' '?' | sed 's/%/%%/g')
GIT_DIR=/workspace/${place:+$place/}.git GIT_WORK_TREE=/workspace/$place git log --no-color --no-decorate \
    --no-show-signature --no-notes --encoding=UTF-8 --format="%h %as %an: ${name:+$name: }%s" "$old..$new" --
LOG
    )
    printf '0\0'
    sh -c "$LOG" '' "$commit" HEAD
    if [ -d /taskspace/base/.git/modules ]; then
        look "$commit"
        xargs -0 -r -n 3 sh -c "$LOG" <"$state/links"
    fi
    printf %s "$end"
    exit
fi

look "$commit"
export GIT_DIR="$state/git" GIT_WORK_TREE=/workspace GIT_OBJECT_DIRECTORY="$state/objects"
export GIT_INDEX_FILE="$state/index"

# Makes one tree of the trees of all repositories: those in field 1 (before) or 2 (now). The tree of the
# checkout itself is the first.
WHOLE=$(cat <<'WHOLE'
set -eu
# The tree $1 with the tree $3 at the path $2.
graft() (
    first=${2%%/*} tree=$3
    [ "$first" = "$2" ] || tree=$(graft "$(git rev-parse --quiet --verify "$1:$first" || echo "$empty")" "${2#*/}" "$3")
    name=$(printf %s "$first" | sed -z 's/[][\.*^$/]/\&/g; s/\n/\\n/g')
    { git ls-tree -z "$1" | sed -z "/^[^\t]*\t$name\$/d"; printf '040000 tree %s\t%s\0' "$tree" "$first"; } |
        git mktree -z --missing
)
place=${0%/} tree=$1
[ "$field" = 1 ] || tree=$2
[ "$tree" != - ] || exit 0
tree=$(git rev-parse --verify "$tree")
[ -z "$place" ] || tree=$(graft "$(cat "$state/tree-$field")" "$place" "$tree")
echo "$tree" >"$state/tree-$field"
WHOLE
)
empty=$(git hash-object -w -t tree /dev/null)
export empty
whole() {
    field=$1 xargs -0 -r -n 3 sh -c "$WHOLE" <"$state/trees"
    cat "$state/tree-$1"
}
before=$(whole 1)
now=$(whole 2)

# Shows the changes, first those of submodules' commits, each by itself.
changes() {
    CHANGES=$* xargs -0 -r -n 3 sh -c '
        tree() {
            git read-tree --empty
            [ "$2" = - ] || printf "160000 %s\t%s\0" "$2" "$1" | git update-index -z --index-info
            git write-tree --missing-ok
        }
        git diff --no-color --no-ext-diff --submodule=short --ignore-submodules=none \
            $CHANGES "$(tree "$0" "$1")" "$(tree "$0" "$2")" -- |
            case $CHANGES in --stat*) sed "\$d" ;; *) cat ;; esac' <"$state/links"
    git diff --no-color --no-ext-diff --no-textconv --find-renames=50% -l1000 --no-relative \
        --submodule=short --ignore-submodules=none "$@" "$before" "$now" --
}

uncommitted=$(($(cat "$state/uncommitted" "$state/left-out" | tr -dc '\0' | wc -c) / 2))
cat "$state/notes" >>"$state/left-out"
printf '%s\0' "$(($(tr -dc '\0' <"$state/left-out" | wc -c) / 2))"
cat "$state/left-out"
case $form in
patch)
    changes --patch --binary --full-index --src-prefix=a/ --dst-prefix=b/ --unified=3 \
        --inter-hunk-context=0 --diff-algorithm=myers --indent-heuristic \
        --ws-error-highlight=none
    ;;
stat)
    changes --stat=80
    ;;
name-status)
    changes --name-status
    ;;
files)
    head=$(GIT_DIR=/workspace/.git git rev-parse --quiet --verify 'HEAD^{commit}') || head=
    branch=$(GIT_DIR=/workspace/.git git symbolic-ref --quiet HEAD) || branch=
    commits=$(unset GIT_OBJECT_DIRECTORY; GIT_DIR=/workspace/.git git rev-list --count "$commit..HEAD" --) || commits=0
    printf '%s\0' "$head" "$branch" "$commits" "$uncommitted"
    changes --raw --no-abbrev --numstat -z
    ;;
*)
    echo "there is no form '$form'" >&2
    exit 2
    ;;
esac
printf %s "$end"
