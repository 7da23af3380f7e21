//! cargo: its config.toml.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Said;

/// The source that is used where nothing else is configured.
const DEFAULT_SOURCE: &str = "crates-io";

/// What of cargo's configuration matters; what else there is may be as it likes.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    source: BTreeMap<String, Source>,
    #[serde(default)]
    registries: BTreeMap<String, Registry>,
    http: Option<Http>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Source {
    registry: Option<String>,
    git: Option<String>,
    replace_with: Option<String>,
}

#[derive(Deserialize)]
struct Registry {
    index: Option<String>,
}

#[derive(Deserialize)]
struct Http {
    proxy: Option<String>,
}

/// Reads a config.toml.
pub(super) fn config(text: &str) -> Said {
    let config: Config = match toml::from_str(text) {
        Ok(config) => config,
        // Its message would show the line, which may have a password in it.
        Err(error) => {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            return Said {
                flaws: vec![format!("line {line} is not understood")],
                ..Said::default()
            };
        }
    };
    let replaces_default =
        config.source.get(DEFAULT_SOURCE).is_some_and(|source| source.replace_with.is_some());
    let sources = config.source.into_values().flat_map(|source| [source.registry, source.git]);
    let indices = config.registries.into_values().map(|registry| registry.index);
    let proxy = config.http.and_then(|http| http.proxy).map(|proxy| match proxy.contains("://") {
        true => proxy,
        false => format!("http://{proxy}"),
    });
    let urls = sources.chain(indices).chain([proxy]).flatten().collect();
    Said { urls, replaces_default, flaws: Vec::new() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sources_registries_and_proxies_are_read() {
        let said = config(
            "[source.crates-io]\nreplace-with = 'mirror'\n\
             [source.mirror]\nregistry = 'sparse+https://crates.example.org/index/'\n\
             [source.forge]\ngit = \"https://git.example.org/x\"\nbranch = \"main\"\n\
             [source.vendored]\ndirectory = \"vendor\"\n\
             [registries]\nmine = { index = 'https://mine.example.org/' }\n\
             [http]\nproxy = 'u:secret@proxy.example.org:3128'\n[build]\njobs = 2\n",
        );
        assert!(said.replaces_default);
        assert_eq!(
            said.urls,
            [
                "https://git.example.org/x",
                "sparse+https://crates.example.org/index/",
                "https://mine.example.org/",
                "http://u:secret@proxy.example.org:3128",
            ]
        );
        assert_eq!(config("[build]\njobs = 2"), Said::default());
    }

    #[test]
    fn what_is_wrong_is_told_without_showing_it() {
        let said = config("[http]\nproxy = 'u:secret@p\n");
        assert_eq!(said.flaws, ["line 2 is not understood"]);
        assert_eq!(config("[source]\ncrates-io = 'x'").flaws.len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "(\\PC|[\\n\\[\\]=\"']){0,80}") {
            config(&text);
        }
    }
}
