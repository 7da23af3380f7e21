//! pip: its pip.conf.

use super::Said;

/// Reads a pip.conf; the sections are those of pip's commands, and each may have its own index.
pub(super) fn conf(text: &str) -> Said {
    let mut said = Said::default();
    let mut key = String::new();
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let value = if line.starts_with([' ', '\t']) {
            // It goes on with the value before.
            trimmed
        } else if trimmed.starts_with('[') {
            key.clear();
            continue;
        } else {
            let (name, value) = trimmed.split_once(['=', ':']).unwrap_or((trimmed, ""));
            key = name.trim().to_ascii_lowercase().replace('_', "-");
            value
        };
        match key.as_str() {
            "index-url" | "no-index" => said.replaces_default = true,
            "extra-index-url" | "find-links" | "proxy" => {}
            _ => continue,
        }
        let is_url = |word: &&str| word.contains("://") || key == "proxy";
        said.urls.extend(value.split_whitespace().filter(is_url).map(
            |url| match url.contains("://") {
                true => url.to_owned(),
                false => format!("http://{url}"),
            },
        ));
    }
    said
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn indices_and_proxies_are_read() {
        let said = conf(
            "; mine\n[global]\nindex_url = https://pip.example.org/simple\ntimeout = 60\n\
             extra-index-url =\n    https://a.example.org/simple\n    # not this\n    https://b.example.org\n\
             find-links: /srv/wheels https://c.example.org/w\n[install]\nproxy = u:p@proxy.example.org:3128\n\
             trusted-host = https://no.example.org\n",
        );
        assert!(said.replaces_default);
        assert_eq!(
            said.urls,
            [
                "https://pip.example.org/simple",
                "https://a.example.org/simple",
                "https://b.example.org",
                "https://c.example.org/w",
                "http://u:p@proxy.example.org:3128",
            ]
        );
        assert_eq!(conf("[global]\ncert = /etc/ssl/x.crt\n"), Said::default());
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "(\\PC|[\\n=:\\[ ]){0,80}") {
            conf(&text);
        }
    }
}
