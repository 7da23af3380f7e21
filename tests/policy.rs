//! Files of policies are checked and shown without the service.

use crate::common::{User, text_of};

#[test]
fn what_is_wrong_with_a_policy_is_said_with_its_place() {
    let user = User::new();
    let write = |name: &str, text: &str| {
        let path = user.path("home").join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let groups = write("network-groups.yaml", "groups: {mine: [example.org]}\n");
    let good = write("shop.yaml", "like: restricted\nallow: ['@mine', '*.example.org:443']\n");
    let bad = write("broken.yaml", "like: restricted\nallow:\n  - example.org:443\n  - 1.2.3\n");
    let retention = write("retention.yaml", "interval: soon\n");

    assert_eq!(
        user.run(&["policy", "check", &groups, &good]),
        format!("{groups}: OK\n{good}: OK\n")
    );
    // By itself it names a group that there is not.
    let told = user.fail(1, &["policy", "check", &good]);
    assert!(told.contains(&format!("{good}:2:9: there is no group @mine")), "{told}");
    let told = user.fail(1, &["policy", "check", &bad, &groups, &retention]);
    for line in [
        format!("{bad}:4:5: allow[1]: \"1.2.3\" looks like an address"),
        format!("{groups}: OK"),
        format!("{retention}:1:11: interval: \"soon\" is not a duration"),
    ] {
        assert!(told.contains(&line), "{line} is not in\n{told}");
    }
    user.fail(1, &["policy", "check", "/nonexistent.yaml"]);
    assert!(user.service().is_none(), "the service was started for it");
}

#[test]
fn policies_are_listed_and_shown() {
    let user = User::new();
    std::fs::create_dir(user.path("config/symposium/network")).unwrap();
    user.settings(
        "network/shop.yaml",
        "like: restricted\nallow: ['@registries', 192.0.2.7:22/tcp]\n",
    );
    std::fs::create_dir_all(user.path("config/pip")).unwrap();
    let pip = "[global]\nindex-url = https://u:secret@pip.example.org/simple\n";
    std::fs::write(user.path("config/pip/pip.conf"), pip).unwrap();
    let listed = user.json(&["policy", "list"]);
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["isolated", "restricted", "shop", "open"]);

    let output = user.taskspace(&["policy", "show", "shop"]).output().unwrap();
    let text = text_of(&output);
    assert!(output.status.success() && text.contains("pip.example.org"), "{text}");
    assert!(text.contains("192.0.2.7") && text.contains("anything else is refused"), "{text}");
    assert!(text.contains("warning: cargo: nothing is configured"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    let shown = user.json(&["policy", "show", "shop"]);
    assert_eq!(shown["policy"], "shop");
    assert_eq!(shown["allowed"][0]["first"], "192.0.2.7");
    user.fail(3, &["policy", "show", "gone"]);
}
