//! What a power loss in the middle of a save leaves on the disk, and what becomes of it.

use std::collections::BTreeMap;

use tempfile::{PathPersistError, TempPath};

use super::*;

/// The files of a directory: their names and contents.
type Content = BTreeMap<String, Vec<u8>>;

fn content(dir: &Path) -> Content {
    names_in(dir)
        .into_iter()
        .map(|name| (name.clone(), fs::read(dir.join(name)).unwrap()))
        .collect()
}

/// A disk that keeps what the directory was like before each act.
#[derive(Clone, Debug, Default)]
struct Witness {
    dir: PathBuf,
    seen: Arc<Mutex<Vec<(&'static str, Content)>>>,
}

impl Witness {
    fn saw(&self, act: &'static str) {
        self.seen.lock().unwrap().push((act, content(&self.dir)));
    }
}

impl Disk for Witness {
    fn write(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        self.saw("write");
        file.write_all(bytes)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.saw("sync");
        file.sync_data()
    }

    fn replace(&self, new: TempPath, old: &Path) -> Result<(), PathPersistError> {
        self.saw("replace");
        new.persist(old)
    }

    fn sync_directory(&self, dir: &Path) -> io::Result<()> {
        self.saw("sync directory");
        File::open(dir)?.sync_all()
    }
}

/// Saves with `save`, and returns what the disk may hold after a power loss before its data was
/// synced, after that, and after the renaming.
fn possible_contents(path: &Path, save: impl FnOnce(&Store)) -> (Vec<Content>, Content, Content) {
    let witness = Witness { dir: path.parent().unwrap().to_owned(), ..Witness::default() };
    save(&Store::on_disk(path.to_owned(), Box::new(witness.clone())));
    let mut seen = std::mem::take(&mut *witness.seen.lock().unwrap());
    let acts: Vec<_> = seen.iter().map(|(act, _)| *act).collect();
    // What is renamed is on the disk, and nobody is answered before the new name is.
    assert_eq!(acts, ["write", "sync", "replace", "sync directory"]);
    let (_, renamed) = seen.pop().unwrap();
    let (_, synced) = seen.pop().unwrap();
    let (_, written) = seen.pop().unwrap();
    let (leftover, whole) = written.iter().find(|(name, _)| name.starts_with('.')).unwrap();
    let cut = (0..=whole.len()).flat_map(|length| {
        let mut zeroed = whole.clone();
        zeroed[length..].fill(0);
        [whole[..length].to_vec(), zeroed].map(|rest| {
            let mut content = written.clone();
            content.insert(leftover.clone(), rest);
            content
        })
    });
    (cut.collect(), synced, renamed)
}

/// Opens a registry whose directory holds this and returns the names of its projects; nothing else
/// may be left there.
async fn opened(content: &Content) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in content {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let path = dir.path().join("taskspace-registry.json");
    let registry = Registry::open(path).unwrap();
    let names = names_in(dir.path());
    assert_eq!(names, ["taskspace-registry.json", "taskspace-registry.json.lock"]);
    registry.read().await.unwrap().projects.keys().cloned().collect()
}

#[tokio::test]
async fn a_power_loss_during_a_change_leaves_the_old_document_or_the_new_one() {
    let (_dir, path) = place();
    add(&Registry::open(path.clone()).unwrap(), "old".to_owned()).await;
    let (cut, synced, renamed) = possible_contents(&path, |store| {
        let _lock = store.lock().unwrap();
        let mut document = Document::clone(&store.load().unwrap());
        document.projects.insert("new".to_owned(), project("s"));
        store.save(Arc::new(document)).unwrap();
    });
    // The renaming may be lost as long as the directory is not synced.
    for content in cut.iter().chain([&synced]) {
        assert_eq!(opened(content).await, ["old"]);
    }
    assert_eq!(opened(&renamed).await, ["new", "old"]);
}

#[tokio::test]
async fn a_power_loss_while_the_registry_is_made_leaves_none_or_an_empty_one() {
    let (_dir, path) = place();
    let (cut, synced, renamed) = possible_contents(&path, |store| store.make_if_missing().unwrap());
    for content in cut.iter().chain([&synced, &renamed]) {
        assert!(opened(content).await.is_empty());
    }
}
