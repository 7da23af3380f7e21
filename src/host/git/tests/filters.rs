//! Filters of files, which no base has applied.

use super::*;

#[tokio::test]
async fn files_whose_filter_is_not_applied_are_told() {
    let world = World::new();
    let dir = world.init("app", &[]);
    let attributes = "[attr]crypt filter=git-crypt diff=git-crypt\nsecret/** crypt\n*.ipynb filter=strip\n\
        *.bin filter=lfs\n.gitattributes !filter\n";
    world.commit(&dir, ".gitattributes", attributes);
    for file in ["secret/key", "secret/other", "book.ipynb", "x.bin", "plain"] {
        world.commit(&dir, file, file);
    }
    std::os::unix::fs::symlink("key", dir.join("secret/link")).unwrap();
    let commit = world.commit(&dir, "more", "more");
    let source = world.source(&dir);
    let mirror = world.fetch(&source).await.unwrap();
    let told = async || {
        let mirrors = mirror.parent().unwrap();
        let found = world.git.fetch_contents(&source, mirrors, &commit, |_| {}).await.unwrap();
        found.warnings
    };
    let crypt = "the filter git-crypt is not applied to 2 files, which are as the commit has them: \
        secret/key, secret/other; once it is set up inside, check them out anew";
    let strip = "the filter strip is not applied to 1 file, which is as the commit has it: book.ipynb; \
        once it is set up inside, check them out anew";
    assert_eq!(told().await, [crypt, strip]);
    // One that is applied to commits only makes no difference in a checkout.
    world.run(&dir, &["config", "filter.strip.clean", "false"]);
    world.run(&dir, &["config", "filter.git-crypt.smudge", "false"]);
    assert_eq!(told().await, [crypt]);
    world.run(&dir, &["config", "filter.git-crypt.smudge", "cat"]);
    assert_eq!(told().await, [""; 0]);
}
