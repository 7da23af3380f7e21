# Run in a container of a taskspace, at the top of its checkout: what is saved nowhere else.
#
#   sh -c THIS unsaved COMMIT END
#
# Each line begins with its kind. `c`: a commit since COMMIT that is on no branch of a remote, with the
# repository in which it is (nothing for the checkout's own) and the ref that leads to it. `s`: a stash.
# `f`: a file that is not committed. END is written at the end.
set -eu
commit=$1 end=$2

# What is to be seen of a repository, by its directory below the checkout, from within it; those that it
# has as submodules come after. A submodule's tags and the commit that it was at came with it.
look=$(cat <<'LOOK'
set -eu
look=$1 commit=$2 below=$3 place=$4
if [ -n "$place" ]; then
    [ -e "$place/.git" ] || exit 0
    cd -- "$place"
    below=$below$place/
    unset GIT_DIR GIT_WORK_TREE
    # What is no repository after all is not to be taken for the one that it lies in.
    export GIT_CEILING_DIRECTORIES="${PWD%/*}"
fi
shown=$(printf %s "$below" | tr '\t\n' '??')
format=$(printf %s "${shown%/}" | sed 's/%/%%/g')
tags=
[ -z "$place" ] || tags=--tags

git log --no-color --no-decorate --no-show-signature --no-notes --encoding=UTF-8 --source \
    --format="c%x09%H%x09$format%x09%S%x09%h %s" \
    --exclude=refs/stash --exclude='refs/notes/*' --exclude='refs/remotes/*' --all \
    --not --remotes $tags $commit --
git stash list --no-color --no-show-signature --format="s%x09$format${format:+: }%gd: %gs"
for rebase in rebase-merge rebase-apply; do
    [ ! -e "$(git rev-parse --git-path "$rebase/autostash")" ] ||
        printf 's\t%s\n' "${shown}autostash of a rebase"
done

status() {
    files=$(git status --porcelain=v1 --untracked-files=all --ignore-submodules=dirty --no-renames)
    [ -z "$files" ] || printf '%s\n' "$files" |
        BELOW=$shown awk '{ print "f\t" substr($0, 1, 3) ENVIRON["BELOW"] substr($0, 4) }'
}
status
# The first is this one.
trees=$(git worktree list --porcelain)
printf '%s\n' "$trees" | sed -n 's/^worktree //p' | sed 1d | while IFS= read -r tree; do
    if [ -e "$tree/.git" ]; then
        shown=$tree/
        (unset GIT_DIR GIT_WORK_TREE; cd -- "$tree"; status)
    else
        printf 'f\t?? %s\n' "$tree (a work tree that is not in this container)"
    fi
done

git ls-files --stage -z | tr '\0\n' '\n\0' | sed -n 's/^160000 [^\t]*\t//p' | tr '\0\n' '\n\0' |
    LOOK=$look BELOW=$below BASE=$commit xargs -0 -r -n 1 sh -c '
        base=$(git ls-tree "$BASE" -- "$0" 2>/dev/null | sed -n "s/^160000 commit \([0-9a-f]*\).*/\1/p") || base=
        exec sh -c "$LOOK" look "$LOOK" "$base" "$BELOW" "$0"'
LOOK
)
sh -c "$look" look "$look" "$commit" '' ''
printf %s "$end"
