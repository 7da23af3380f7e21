# What of a checkout is saved nowhere else.
#
#   sh -c THIS unsaved COMMIT END
#
# Each line begins with its kind. `c`: a commit since COMMIT that is on no branch of a remote, with the
# repository in which it is (nothing for the checkout's own) and the ref that leads to it. `s`: a stash.
# `f`: a file that is not committed. END is written at the end.
commit=$1 end=$2
look "$commit"

# The commits of a repository, by its place. A submodule's tags and the commit that it was at came with it.
COMMITS=$(cat <<'COMMITS'
set -eu
place=$0 commit=$1
export GIT_DIR="/workspace/$place.git" GIT_WORK_TREE="/workspace/$place"
shown=$(printf %s "$place" | tr '\t\n' '??')
format=$(printf %s "${shown%/}" | sed 's/%/%%/g')
tags=
[ -z "$place" ] || tags=--tags
[ "$commit" != - ] && git cat-file -e "$commit^{commit}" 2>/dev/null || commit=

if ! git rev-parse --git-dir >/dev/null; then
    printf 'f\t!! %s.git (it is no repository any more: its commits cannot be read)\n' "$shown"
    exit 0
fi
git log --no-color --no-decorate --no-show-signature --no-notes --encoding=UTF-8 --source \
    --format="c%x09%H%x09$format%x09%S%x09%h %s" \
    --exclude=refs/stash --exclude='refs/notes/*' --exclude='refs/remotes/*' --all \
    --not --remotes $tags $commit -- ||
    printf 'f\t!! %s.git (its commits cannot be read)\n' "$shown"
git stash list --no-color --no-show-signature --format="s%x09$format${format:+: }%gd: %gs"
for rebase in rebase-merge rebase-apply; do
    [ ! -e "$(git rev-parse --git-path "$rebase/autostash")" ] ||
        printf 's\t%s\n' "${shown}autostash of a rebase"
done
# The first is this one.
git worktree list --porcelain | sed -n 's/^worktree //p' | sed 1d | while IFS= read -r tree; do
    below=${tree#/workspace/}
    if [ "$below" = "$tree" ]; then
        printf 'f\t?? %s (a work tree that is not in the checkout)\n' "$tree"
    elif [ -e "$tree/.git" ] && ! grep -z -q -F -x -e "$below/" "$state/repositories"; then
        sh -c "$LOOK" look "$below/" inside "$(git -C "$tree" rev-parse --quiet --verify HEAD)" no
    fi
done
COMMITS
)
cp -- "$state/repositories" "$state/found"
xargs -0 -r -n 2 sh -c "$COMMITS" <"$state/found"

# The files come last: further work trees have added to them.
tr '\n\t\0' '??\n' <"$state/uncommitted" | sed '
    s/^A$/f\t??/; t pair
    s/^S$/f\tM /; t pair
    s/^\(.\)$/f\t \1/
    :pair
    N; s/\n/ /'
tr '\n\t\0' '??\n' <"$state/left-out" | sed 's/^/f\t!! /; N; s/\n\(.*\)/ (\1)/'
printf %s "$end"
