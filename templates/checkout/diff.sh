# Run in a container of a taskspace, at the top of its checkout: what has been changed since a commit.
#
#   sh -c THIS diff COMMIT FORM END
#
# END is written when everything has been: without it, what came before is not all there is. The
# repository's index and objects stay as they are: what is not committed goes into others, which are
# removed at the end, whatever the end is; those of a run that was killed are removed by the next one.
set -eu
umask 077
commit=$1 form=$2 end=$3

if [ "$form" = commits ]; then
    git log --no-color --no-decorate --no-show-signature --no-notes --encoding=UTF-8 \
        --format='%h %as %an: %s' "$commit..HEAD" --
    printf %s "$end"
    exit
fi

for former in /tmp/taskspace-diff.*; do
    process=${former#/tmp/taskspace-diff.}
    [ -d "/proc/${process%.*}" ] || rm -rf -- "$former"
done
temporary=
trap '[ -z "$temporary" ] || rm -rf -- "$temporary"' EXIT
trap 'exit 1' HUP INT PIPE TERM
temporary=$(mktemp -d "/tmp/taskspace-diff.$$.XXXXXX")

index=$(git rev-parse --git-path index)
objects=$(git rev-parse --git-path objects)
if [ -f "$index" ]; then
    cp -- "$index" "$temporary/index"
    # By its time git knows what may have changed since it was written.
    touch -r "$index" -- "$temporary/index"
fi
mkdir "$temporary/objects"
export GIT_INDEX_FILE="$temporary/index"
export GIT_OBJECT_DIRECTORY="$temporary/objects" GIT_ALTERNATE_OBJECT_DIRECTORIES="$objects"
# In one pack and as they are: a file for each of thousands of objects takes several times as long.
git -c core.bigFileThreshold=1 -c pack.compression=0 add --all --sparse >&2

# Whatever the repository's configuration says of how a diff looks.
changes() {
    git diff --cached --no-color --no-ext-diff --no-textconv --find-renames=50% -l1000 \
        --no-relative --submodule=short --ignore-submodules=none -O/dev/null "$@" --
}

case $form in
patch)
    changes --patch --binary --full-index --src-prefix=a/ --dst-prefix=b/ --unified=3 \
        --inter-hunk-context=0 --diff-algorithm=myers --indent-heuristic \
        --ws-error-highlight=none "$commit"
    ;;
stat)
    changes --stat=80 "$commit"
    ;;
name-status)
    changes --name-status "$commit"
    ;;
files)
    head=$(git rev-parse --quiet --verify HEAD) || head=
    branch=$(git symbolic-ref --quiet HEAD) || branch=
    commits=0
    if [ -n "$head" ]; then
        commits=$(git rev-list --count "$commit..HEAD" --)
        git diff --cached --no-ext-diff --no-textconv --no-renames --no-relative \
            --ignore-submodules=none --name-only -z HEAD -- >"$temporary/names"
    else
        git ls-files --cached -z >"$temporary/names"
    fi
    uncommitted=$(tr -dc '\0' <"$temporary/names" | wc -c)
    printf '%s\0' "$head" "$branch" "$commits" "$uncommitted"
    changes --raw --no-abbrev --numstat -z "$commit"
    ;;
*)
    echo "there is no form '$form'" >&2
    exit 2
    ;;
esac
printf %s "$end"
