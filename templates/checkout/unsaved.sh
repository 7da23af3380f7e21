# Run in a container of a taskspace, at the top of its checkout: what is saved nowhere else.
#
#   sh -c THIS unsaved COMMIT END
#
# Commits since COMMIT that are on no branch of a remote, each with the branch that leads to it; stashes;
# files that are not committed. A zero byte stands between them, and END at the end.
set -eu
commit=$1 end=$2

head=$(git rev-parse --quiet --verify HEAD) || head=
git log --no-color --no-decorate --no-show-signature --no-notes --encoding=UTF-8 --source \
    --format='%H%x09%S%x09%h %s' --branches ${head:+HEAD} --not --remotes "$commit" --
printf '\0'
git stash list --no-color --no-show-signature --format='%gd: %gs'
printf '\0'
git status --porcelain=v1 --untracked-files=all --ignore-submodules=none --no-renames
printf %s "$end"
