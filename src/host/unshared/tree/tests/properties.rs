//! Merging random trees comes to the same as a plain model of an overlay.

use proptest::prelude::*;

use super::super::merge;
use super::*;

/// What is in a tree, or in a model of one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    File { content: u8, mode: u32 },
    Link(u8),
    Whiteout,
    Directory { opaque: bool, mode: u32, mark: u8, children: Children },
}

type Children = BTreeMap<String, Node>;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// Some that their owner can always look into: the test does.
const MODES: [u32; 4] = [0o700, 0o711, 0o1777, 0o2750];

fn children(in_upper: bool) -> impl Strategy<Value = Children> {
    let mode = || prop::sample::select(MODES.to_vec());
    let leaf = prop_oneof![
        3 => (any::<u8>(), mode()).prop_map(|(content, mode)| Node::File { content, mode }),
        1 => any::<u8>().prop_map(Node::Link),
        if in_upper { 2 } else { 0 } => Just(Node::Whiteout),
    ];
    let named = |node| prop::collection::btree_map(prop::sample::select(&NAMES[..]), node, 0..4);
    let owned = |children: BTreeMap<&str, Node>| {
        children.into_iter().map(|(name, node)| (name.to_owned(), node)).collect()
    };
    let node = leaf.prop_recursive(3, 24, 4, move |node| {
        (prop::bool::weighted(if in_upper { 0.3 } else { 0.0 }), mode(), any::<u8>(), named(node))
            .prop_map(move |(opaque, mode, mark, children)| Node::Directory {
                opaque,
                mode,
                mark,
                children: owned(children),
            })
    });
    named(node.boxed()).prop_map(owned)
}

/// What an overlay shows.
fn overlay(lower: &Children, upper: &Children) -> Children {
    let mut shown = lower.clone();
    for (name, node) in upper {
        let below = shown.remove(name);
        let above = match (node, below) {
            (Node::Whiteout, _) => continue,
            (
                Node::Directory { opaque: false, mode, mark, children },
                Some(Node::Directory { children: below, .. }),
            ) => Node::Directory {
                opaque: false,
                mode: *mode,
                mark: *mark,
                children: overlay(&below, children),
            },
            (Node::Directory { mode, mark, children, .. }, _) => Node::Directory {
                opaque: false,
                mode: *mode,
                mark: *mark,
                children: overlay(&Children::new(), children),
            },
            (other, _) => other.clone(),
        };
        shown.insert(name.clone(), above);
    }
    shown
}

fn write(children: &Children, directory: &Path) {
    for (name, node) in children {
        let path = directory.join(name);
        match node {
            Node::File { content, mode } => {
                fs::write(&path, [*content]).unwrap();
                set_mode(&path, *mode);
            }
            Node::Link(to) => std::os::unix::fs::symlink(to.to_string(), path).unwrap(),
            Node::Whiteout => make_whiteout(&path),
            Node::Directory { opaque, mode, mark, children } => {
                fs::create_dir(&path).unwrap();
                write(children, &path);
                if *opaque {
                    set_attribute(&path, "user.overlay.opaque", b"y");
                }
                set_attribute(&path, "user.mark", &[*mark]);
                set_mode(&path, *mode);
            }
        }
    }
}

fn read(directory: &Path) -> Children {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            let found = fs::symlink_metadata(&path).unwrap();
            let mode = found.mode() & 0o7777;
            let node = if found.is_dir() {
                let attributes = attributes(&path);
                assert_eq!(attributes.len(), 1);
                let mark = attributes["user.mark"][0];
                Node::Directory { opaque: false, mode, mark, children: read(&path) }
            } else if found.is_symlink() {
                Node::Link(fs::read_link(&path).unwrap().to_str().unwrap().parse().unwrap())
            } else if found.is_file() {
                Node::File { content: fs::read(&path).unwrap()[0], mode }
            } else {
                Node::Whiteout
            };
            (path.file_name().unwrap().to_str().unwrap().to_owned(), node)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_merge_is_what_an_overlay_shows(lower in children(false), upper in children(true)) {
        let room = room(&["lower", "upper", "to"]);
        let at = |name: &str| room.path().join(name);
        write(&lower, &at("lower"));
        write(&upper, &at("upper"));
        let before = (look(&at("lower")), look(&at("upper")));
        merge(Some(&at("lower")), &at("upper"), &at("to"), &[], None).unwrap();
        prop_assert_eq!(read(&at("to")), overlay(&lower, &upper));
        prop_assert_eq!((look(&at("lower")), look(&at("upper"))), before);
    }
}
