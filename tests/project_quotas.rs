//! Hard storage limits where nothing is prepared. Where it is, `tests/vm/quotas` fills taskspaces.

use serde_json::{Value, json};

use crate::common::User;
use crate::common::repository::Repository;

/// So much nobody prepares.
const ODD: &str = "31337k";

#[test]
fn what_must_be_hard_is_not_made_where_it_cannot_be() {
    let user = User::new();
    let repository = Repository::new(&user, "app");
    let create = ["create", "--project", repository.as_str(), "--storage", ODD, "qhard"];
    let hard = [create.as_slice(), &["--hard"]].concat();
    let dry = [hard.as_slice(), &["--dry-run"]].concat();
    for refused in [hard, dry] {
        let said = user.fail(5, &refused);
        assert!(said.contains("the storage cannot be limited: no project quota"), "{said}");
        assert!(said.contains("sudo taskspace quota setup"), "{said}");
    }
    assert_eq!(user.json(&["list"]), json!([]));
    assert_eq!(user.left_in_podman(), Vec::<String>::new());

    user.run(&create);
    let shown = user.json(&["show", "qhard"]);
    assert_eq!(
        (&shown["storage"]["limit"], &shown["storage"]["hard"]),
        (&json!(31_337_000), &Value::Null)
    );
    let ids = user.json(&["quota", "show"]);
    let is_ours = |id: &Value| id["taskspace"] == "qhard";
    assert!(!ids.as_array().unwrap().iter().any(is_ours), "{ids}");
    user.run(&["delete", "--force", "--purge", "qhard"]);
}

#[test]
fn only_root_prepares_limits() {
    let user = User::new();
    for verb in [
        &["quota", "setup", "--size", "1Gi", "--yes"][..],
        &["quota", "resize", "1501000000", "1Gi"],
        &["quota", "remove", "--yes"],
    ] {
        let said = user.fail(5, verb);
        assert!(said.contains("only root") && said.contains("sudo"), "{said}");
    }
}
