//! apt: sources.list(5) and apt.conf(5).

use super::Said;

/// Reads a file of lines such as `deb [signed-by=…] URL suite component…`.
pub(super) fn list(text: &str) -> Said {
    let mut said = Said::default();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        let rest = match line.split_once(char::is_whitespace) {
            Some(("deb" | "deb-src", rest)) => rest.trim_start(),
            _ => continue,
        };
        // Options may have spaces in their brackets.
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, rest)| rest),
            None => rest,
        };
        said.urls.extend(rest.split_whitespace().next().map(str::to_owned));
    }
    said.replaces_default = !said.urls.is_empty();
    said
}

/// Reads a file of paragraphs with fields such as `URIs`.
pub(super) fn sources(text: &str) -> Said {
    let mut said = Said::default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for paragraph in lines.split(|line| line.trim().is_empty()) {
        let mut urls = Vec::new();
        let mut is_enabled = true;
        let mut field = String::new();
        for line in paragraph {
            let value = match line.split_once(':') {
                Some((name, value)) if !line.starts_with([' ', '\t']) => {
                    field = name.trim().to_ascii_lowercase();
                    value
                }
                // What begins with a space goes on with the field before.
                _ => line,
            };
            match field.as_str() {
                "uris" => urls.extend(value.split_whitespace().map(str::to_owned)),
                "enabled" => is_enabled = !is_no(value.trim()),
                _ => {}
            }
        }
        if is_enabled {
            said.urls.append(&mut urls);
        }
    }
    said.replaces_default = !said.urls.is_empty();
    said
}

fn is_no(value: &str) -> bool {
    ["no", "false", "without", "off", "disable"].iter().any(|no| value.eq_ignore_ascii_case(no))
}

/// Reads a file of options, of which those about proxies matter: `Acquire::http::Proxy "URL";`, also
/// with braces around what belongs together.
pub(super) fn conf(text: &str) -> Said {
    let mut said = Said::default();
    let mut scopes: Vec<String> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    for token in tokens(text) {
        match token {
            Token::Word(word) => words.push(word),
            Token::Open => scopes.push(words.drain(..).next().unwrap_or_default()),
            Token::Close => {
                words.clear();
                scopes.pop();
            }
            Token::End => {
                let mut given = words.drain(..);
                let (name, value) = (given.next().unwrap_or_default(), given.next());
                let option = [scopes.join("::"), name].join("::").to_ascii_lowercase();
                let option = option.trim_start_matches(':');
                if !option.starts_with("acquire::") {
                    continue;
                }
                if option.contains("::proxy-auto-detect") || option.contains("::proxyautodetect") {
                    said.flaws.push("a program finds the proxy: allow that by name".to_owned());
                } else if option.split("::").any(|part| part == "proxy")
                    && let Some(url) = value.filter(|url| !is_direct(url))
                {
                    said.urls.push(url);
                }
            }
        }
    }
    said
}

fn is_direct(value: &str) -> bool {
    value.is_empty() || ["direct", "false"].iter().any(|it| value.eq_ignore_ascii_case(it))
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        let line_end = rest.find('\n').unwrap_or(rest.len());
        let next = match c {
            '{' | '}' | ';' => {
                tokens.push(match c {
                    '{' => Token::Open,
                    '}' => Token::Close,
                    _ => Token::End,
                });
                after
            }
            '"' => {
                let (word, after) = after.split_once('"').unwrap_or((after, ""));
                tokens.push(Token::Word(word.to_owned()));
                after
            }
            '#' => rest.get(line_end..).unwrap_or_default(),
            '/' if after.starts_with('/') => rest.get(line_end..).unwrap_or_default(),
            '/' if after.starts_with('*') => after.split_once("*/").map_or("", |(_, after)| after),
            c if c.is_whitespace() => after,
            _ => {
                let end = rest
                    .find(|c: char| c.is_whitespace() || "{};\"".contains(c))
                    .unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                tokens.push(Token::Word(word.to_owned()));
                after
            }
        };
        rest = next;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_read() {
        let said = list(
            "# deb http://no.example.org/ x\n\
             deb http://deb.example.org/debian trixie main # the usual one\n\
             deb-src [ signed-by=/k arch=amd64 ] https://src.example.org/debian trixie main\n\
             deb [trusted=yes]cdrom:/ x\n\ndebbie x\n",
        );
        assert_eq!(
            said.urls,
            ["http://deb.example.org/debian", "https://src.example.org/debian", "cdrom:/"]
        );
        assert!(said.replaces_default);
        assert!(!list("# nothing").replaces_default);
    }

    #[test]
    fn paragraphs_are_read() {
        let said = sources(
            "Types: deb deb-src\n# comment\nURIs: https://a.example.org/x\n https://b.example.org\n\
             Suites: x\n\nTypes: deb\nuris: https://off.example.org\nEnabled: no\n\n\
             URIs: https://c.example.org\n",
        );
        assert_eq!(
            said.urls,
            ["https://a.example.org/x", "https://b.example.org", "https://c.example.org"]
        );
    }

    #[test]
    fn proxies_are_read() {
        let said = conf(
            "Acquire::http::Proxy \"http://p.example.org:3128\"; // the proxy\n\
             # Acquire::http::Proxy \"http://no.example.org\";\n\
             /* Acquire::http::Proxy \"http://no.example.org\"; */\n\
             Acquire { https { Proxy \"http://q.example.org:3129\"; Proxy::x.example.org \"DIRECT\"; }; };\n\
             Acquire::http::Proxy::a.example.org \"http://r.example.org\";\n\
             APT::Proxy \"http://no.example.org\";\n",
        );
        assert_eq!(
            said.urls,
            ["http://p.example.org:3128", "http://q.example.org:3129", "http://r.example.org"]
        );
        let said = conf("Acquire::http::Proxy-Auto-Detect \"/usr/bin/find-proxy\";");
        assert_eq!((said.urls.len(), said.flaws.len()), (0, 1));
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "(\\PC|[\\n{};\"/*#:]){0,80}") {
            list(&text);
            sources(&text);
            conf(&text);
        }
    }
}
