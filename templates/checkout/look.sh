# Looks at the checkout of a taskspace, in a container that is made for that; a script that uses it
# comes after it.
#
#   /workspace         the checkout
#   /taskspace/upper   the overlay's changes: what has been written into the checkout
#   /taskspace/base    the base: the commit that it began with, checked out
#
# Nothing can be written but below /tmp, which goes with the container. The repository in the checkout
# has no say in what is seen: files are compared with the index of the base, by a git directory of our
# own without filters or settings of the checkout's, and each file in the upper directory is read,
# whatever its size and times are. The repository inside is asked for names, refs and commits only.
#
# `look COMMIT` leaves in $state, with a zero byte after each field:
#   trees        PLACE BEFORE NOW: a repository, and what it had and has, as trees (`-`: nothing)
#   links        PATH OLD NEW: a submodule whose commit is another one (`-`: none)
#   left-out     PATH REASON: what git cannot take, and so is not in the trees
#   notes        PATH REASON: what else is not in the trees, but seen in the other lists
#   uncommitted  STATUS PATH: a file that is not as the repository's HEAD has it
#   repositories PLACE COMMIT: a repository, and the commit that it began with (`-`: none)
set -eu
umask 077
export LC_ALL=C
state=$(mktemp -d -p /tmp)
export state

# One repository, and what is within it: PLACE is '' or its path with a slash at the end. FROM says
# where COMMIT is: in the `base`, only `inside`, or that there is `none`. What is not SHOWN is no part
# of the trees.
LOOK=$(cat <<'LOOK'
set -eu
place=$1 from=$2 commit=$3 shown=$4
export shown
work=/workspace/$place
my=$(mktemp -d -p "$state")
mkdir "$my/git" "$my/git/refs" "$my/git/info"
echo 'ref: refs/heads/none' >"$my/git/HEAD"
cp -- "$state/config" "$my/git/config"
[ -n "$place" ] || echo /.build-cache >"$my/git/info/exclude"

# Git with our settings, index and objects.
own() {
    GIT_DIR=$my/git GIT_WORK_TREE=$work GIT_INDEX_FILE=$my/index GIT_OBJECT_DIRECTORY=$state/objects \
        git "$@"
}
# Git with the repository's own.
inside() {
    GIT_DIR=${work}.git GIT_WORK_TREE=$work git "$@"
}
# A text as the replacement of a command `s,,,` of sed.
replacement() {
    printf %s "$1" | sed -z 's/[\\&,]/\\&/g; s/\n/\\\n/g'
}
prefix=$(replacement "$place")
# Notes that a path, or each of a list of paths in this repository, is left out.
leave_out() {
    printf '%s\0%s\0' "$1" "$2" >>"$state/left-out"
}
leave_out_all() {
    sed -z "s,^,$prefix,; s,\$,\\x00$(replacement "$1")," >>"$state/left-out"
}
count() {
    tr -dc '\0' <"$1" | wc -c
}

# Enters the files of a list into the index; those that git refuses are left out, one by one.
store() {
    [ -s "$1" ] || return 0
    if own -c core.bigFileThreshold="$threshold" -c core.compression="$2" \
        update-index -z --add --remove --replace --stdin <"$1" 2>"$my/refusal"; then
        return 0
    fi
    if grep -q -e 'No space left' -e 'quota exceeded' "$my/refusal"; then
        cat "$my/refusal" >&2
        exit 1
    fi
    if [ "$(count "$1")" -gt 1 ]; then
        half=$(($(count "$1") / 2))
        tail -z -n "+$((half + 1))" "$1" >"$1b"
        head -z -n "$half" "$1" >"$1a"
        store "$1a" "$2"
        store "$1b" "$2"
    elif ! grep -q 'beyond a symbolic link' "$my/refusal"; then
        reason=$(head -n 1 "$my/refusal" | sed 's/^[a-z]*: //' | tr -d '\n' | tr '[:cntrl:]' '?')
        leave_out_all "git cannot take it: $reason" <"$1"
    fi
}
# Enters those of a list of paths that git can take. Git patches nothing of a gigabyte.
take() {
    (cd -- "$work" && xargs -0 -r stat --printf '%f %s\t%n\0' --) <"$1" >"$my/kinds" 2>"$my/gone-since" || :
    sed -zn 's/^8[0-9a-f]* \([0-9]\{1,7\}\)\t//p; s/^a[0-9a-f]* [0-9]*\t//p' "$my/kinds" >"$my/small"
    sed -zn 's/^8[0-9a-f]* \([0-9]\{8,9\}\)\t//p' "$my/kinds" >"$my/large"
    store "$my/small" 0
    # What is large may be sparse, and is not to fill the disk.
    store "$my/large" 1
    sed -zn 's/^8[0-9a-f]* \([0-9]\{10,\}\)\t//p' "$my/kinds" >"$my/huge"
    leave_out_all 'it is too large for a patch: copy it out with scp' <"$my/huge"
    sed -zn 's/^[126c][0-9a-f]* [0-9]*\t//p' "$my/kinds" >"$my/special"
    leave_out_all 'it is no file but a socket, a pipe or a device' <"$my/special"
}
# Before 2.38, git makes a pack of each file that it streams.
threshold=1
case $(git version) in *' 2.'[0-9].* | *' 2.'[12][0-9].* | *' 2.3'[0-7].*) threshold=512m ;; esac

# What there was.
case $from in
base)
    index=$(GIT_DIR=/taskspace/base/$place.git git rev-parse --path-format=absolute --git-path index)
    cp -- "$index" "$my/index"
    # What is not in the upper directory is the base's, so nothing is in doubt for being new.
    touch -d @2147483000 "$my/index"
    ;;
inside)
    if ! own cat-file -e "$commit^{tree}" 2>/dev/null; then
        inside rev-list --objects --no-object-names "$commit^{tree}" 2>/dev/null |
            inside pack-objects -q --stdout 2>/dev/null | own index-pack --stdin >/dev/null 2>&1 || :
    fi
    if own cat-file -e "$commit^{tree}" 2>/dev/null; then own read-tree "$commit^{tree}"; fi
    ;;
esac
own ls-files -z --stage | sed -zn 's/^160000 \([0-9a-f]*\) 0\t\(.*\)/\2\x00\1/p' >"$my/links"
sed -zn 'p;n' "$my/links" >"$my/link-paths"
before=-
if [ -s "$my/links" ]; then
    own update-index -z --force-remove --stdin <"$my/link-paths"
    before=$(own write-tree --missing-ok)
elif [ -f "$my/index" ]; then
    before=$(own rev-parse --verify "$commit^{tree}")
fi
own ls-files -z >"$my/known"

# What has been written, and what else is not as it was: what is gone, or lies over the base.
: >"$my/written"
if [ -d "/taskspace/upper/$place" ]; then
    (cd -- "/taskspace/upper/$place" && find . -name .git -prune -o ! -type d -printf '%P\0') |
        sort -z >"$my/written"
fi
own diff-files -z --name-status --no-renames --ignore-submodules=all >"$my/differ"
sed -zn '/^D$/{n;p;b};n' "$my/differ" | sort -z >"$my/gone"
sed -zn '/^D$/{n;b};n;p' "$my/differ" | sort -z >"$my/other"

# Names that the repository knows, and what it has left out of the work tree on purpose.
inside ls-files -z -t >"$my/tagged" 2>"$my/error" || {
    reason=$(tail -n 1 "$my/error")
    leave_out "${place}.git" "its index cannot be read: $reason"
    inside ls-tree -r -z --name-only HEAD 2>/dev/null | sed -z 's/^/H /' >"$my/tagged" || :
}
if [ "$(inside config --type=bool core.sparseCheckout 2>/dev/null || :)" = true ]; then
    sed -zn 's/^S //p' "$my/tagged" | sort -zu >"$my/sparse"
    comm -z -23 "$my/gone" "$my/sparse" >"$my/gone-really"
    mv -- "$my/gone-really" "$my/gone"
fi
comm -z -12 "$my/known" "$my/written" | sort -zu - "$my/other" | comm -z -23 - "$my/gone" >"$my/changed"
own update-index -z --force-remove --stdin <"$my/gone"
# Entered once more without times and sizes, so that each of them is read; what cannot be taken stays.
tab=$(printf '\t')
{ own ls-files -z --stage; sed -z 's/^/\t/' "$my/changed"; } | sort -z -s -t "$tab" -k 2 |
    sed -zn '/^\t/{x;p;b};h' | own update-index -z --index-info
take "$my/changed"
# In the place of a file there may be a repository.
sed -zn 's/^4[0-9a-f]* [0-9]*\t//p' "$my/kinds" | own update-index -z --force-remove --stdin

# What is new. What the repository knows is taken although git is told to ignore it.
own ls-files -z --others --exclude-standard >"$my/others" 2>"$my/error"
# Git goes on where it cannot look, as below a path of more than 4,096 bytes, and cuts its messages off there.
grep -a "^warning: could not open directory '" "$my/error" |
    sed "s/^[^']*'//; s/\(': .*\|'\)\$//; s/^\(.\{200\}\).*/\1.../" | tr '\n' '\0' |
    leave_out_all 'git cannot look into it: its path is too long, or it cannot be read'
sed -zn 's,/$,,p' "$my/others" | sort -z >"$my/nested"
sed -zn '\,/$,!p' "$my/others" | sort -z >"$my/new"
sed -z 's/^. //' "$my/tagged" | sort -zu | comm -z -13 "$my/known" - | sort -zu - "$my/new" >"$my/all-new"
take "$my/all-new"
if [ -d "/taskspace/upper/$place" ]; then
    # Git passes over what is neither a file nor a link.
    (cd -- "/taskspace/upper/$place" && find . -name .git -prune -o -type s,p,b,c -printf '%P\0') |
        (cd -- "$work" && xargs -0 -r stat --printf '%f\t%n\0' -- 2>/dev/null || :) |
        sed -zn 's/^[126c][0-9a-f]*\t//p' >"$my/special"
    own check-ignore -z --stdin <"$my/special" >"$my/ignored" || :
    sort -z "$my/ignored" >"$my/ignored-sorted"
    sort -z "$my/special" | comm -z -23 - "$my/ignored-sorted" |
        leave_out_all 'it is no file but a socket, a pipe or a device'
fi
now=$(own write-tree --missing-ok)
[ "$shown" != yes ] || printf '%s\0' "$place" "$before" "$now" >>"$state/trees"

# What is not committed. An index of its own may have what neither the work tree nor HEAD has.
printf '%s\0' "$place" "${commit:--}" >>"$state/repositories"
head=$(inside rev-parse --quiet --verify 'HEAD^{tree}' 2>/dev/null) || head=
if [ -z "$head" ]; then
    head=$(own hash-object -w -t tree /dev/null)
    if inside rev-parse --quiet --verify HEAD >/dev/null 2>&1; then
        leave_out "${place}.git" 'its commits cannot be read'
        [ "$before" = - ] || head=$before
    elif ! inside rev-parse --git-dir >/dev/null 2>&1; then
        # Without a repository there is nothing but what there was.
        [ "$before" = - ] || head=$before
    fi
fi
objects=$(inside rev-parse --path-format=absolute --git-path objects 2>/dev/null) || objects=/dev/null
objects=\"$(printf %s "$objects" | sed 's/["\\]/\\&/g')\"
if GIT_ALTERNATE_OBJECT_DIRECTORIES=$objects own diff-tree -r -z --no-renames --name-status \
    --ignore-submodules=all "$head" "$now" -- >"$my/uncommitted" 2>"$my/error"; then
    sed -zn 'n;p' "$my/uncommitted" | sort -z >"$my/names"
    (inside diff-index --cached -z --no-renames --name-only --ignore-submodules=all "$head" -- 2>/dev/null || :) |
        sort -z | comm -z -23 - "$my/names" | sed -z 's/^/S\x00/' >>"$my/uncommitted"
else
    leave_out "${place}.git" "its commits cannot be read: $(tail -n 1 "$my/error")"
fi
sed -z "n; s,^,$prefix," "$my/uncommitted" >>"$state/uncommitted"

# The submodules that there were.
xargs -0 -r -n 2 sh -c '
    place=$0 path=$1 commit=$2
    full=/workspace/$place$path
    real=$(realpath -- "$full" 2>/dev/null; echo x)
    if [ -e "$full/.git" ] && [ "$real" = "$full
x" ]; then
        new=$(GIT_DIR=$full/.git GIT_WORK_TREE=$full git rev-parse --quiet --verify "HEAD^{commit}" 2>/dev/null) || new=$commit
        [ "$new" = "$commit" ] || printf "%s\0" "$place$path" "$commit" "$new" >>"$state/links"
        from=inside
        [ ! -e "/taskspace/base/$place$path/.git" ] || from=base
        exec sh -c "$LOOK" look "$place$path/" "$from" "$commit" "$shown"
    fi
    if [ -d "$full" ] && [ ! -L "$full" ]; then
        [ -n "$(ls -A -- "$full")" ] || exit 0
    else
        printf "%s\0" "$place$path" "$commit" - >>"$state/links"
    fi
    [ ! -e "/taskspace/base/$place$path/.git" ] || printf "%s\0" "$place$path/" "$commit^{tree}" - >>"$state/trees"
' "$place" <"$my/links"

# Repositories that are none of these.
sort -z "$my/link-paths" | comm -z -13 - "$my/nested" >"$my/embedded"
(own config --file "$work.gitmodules" -z --get-regexp '^submodule\..*\.path$' 2>/dev/null || :) |
    sed -zn 's/^[^\n]*\n//p' | sort -z | comm -z -12 - "$my/embedded" >"$my/registered"
registered=$my/registered
export registered
xargs -0 -r -n 1 sh -c '
    place=$0 path=$1
    inside() { GIT_DIR=/workspace/$place$path/.git GIT_WORK_TREE=/workspace/$place$path git "$@"; }
    note() { printf "%s\0%s\0" "$place$path" "$2" >>"$state/$1"; }
    head=$(inside rev-parse --quiet --verify "HEAD^{commit}" 2>/dev/null) || head=
    is_registered=$(grep -z -c -F -x -e "$path" "$registered" || :)
    [ "$is_registered" = 0 ] || [ -z "$head" ] || printf "%s\0" "$place$path" - "$head" >>"$state/links"
    lines=$(wc -c <"$state/uncommitted")
    published=
    [ -z "$head" ] || published=$(inside for-each-ref --count=1 --contains "$head" refs/remotes 2>/dev/null) || :
    if [ -f "/workspace/$place$path/.git" ] && grep -q "/worktrees/" "/workspace/$place$path/.git"; then
        sh -c "$LOOK" look "$place$path/" inside "$head" no
        note notes "it is another work tree: its branch comes by fetch --all, what is not committed there does not"
    elif [ -n "$published" ]; then
        sh -c "$LOOK" look "$place$path/" inside "$head" no
        if [ "$lines" != "$(wc -c <"$state/uncommitted")" ]; then
            note notes "it is a clone of another repository, and has changes of its own: copy them out with scp"
        elif [ "$is_registered" = 0 ]; then
            note left-out "it is a clone of another repository, at commit $head"
        fi
    else
        sh -c "$LOOK" look "$place$path/" none "" yes
        [ -z "$head" ] || note notes "it is a repository of its own: its files are here, its commits are not; git clone over ssh has them"
    fi
' "$place" <"$my/embedded"
LOOK
)
export LOOK

# Looks at the whole checkout.
look() {
    printf '[core]\n\trepositoryformatversion = 1\n\tbare = false\n\tcheckStat = minimal\n\ttrustctime = false\n' \
        >"$state/config"
    [ ${#1} -ne 64 ] || printf '[extensions]\n\tobjectFormat = sha256\n' >>"$state/config"
    mkdir "$state/git" "$state/git/refs" "$state/objects" "$state/objects/info" "$state/objects/pack"
    echo 'ref: refs/heads/none' >"$state/git/HEAD"
    cp -- "$state/config" "$state/git/config"
    {
        echo /taskspace/base/.git/objects
        [ ! -d /taskspace/base/.git/modules ] ||
            find /taskspace/base/.git/modules -type d -path '*/objects/pack' -printf '%h\n'
    } >"$state/objects/info/alternates"
    for list in trees links left-out notes uncommitted repositories; do : >"$state/$list"; done
    sh -c "$LOOK" look '' base "$1" yes
}
