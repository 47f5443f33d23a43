//! Reads one source file: which paths it names, in imports, expressions and macros.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, UseTree};

/// What one file says.
pub struct Source {
    /// Relative to `src/`.
    pub path: String,
    /// The top module; empty for `lib.rs` and `main.rs`.
    pub module: String,
    /// Whether it begins with `//!`.
    pub has_module_doc: bool,
    /// Lines with `unsafe`.
    pub unsafe_lines: Vec<usize>,
    /// Modules in files of their own that it declares for tests alone, as paths from the crate's root.
    pub test_modules: Vec<Vec<String>>,
    /// Every path that it names, made absolute where it begins with `crate`, `self` or `super`.
    pub mentions: Vec<Mention>,
}

/// A path in a source file.
pub struct Mention {
    /// Its segments; the first is `crate` for our own.
    pub path: Vec<String>,
    /// Where.
    pub line: usize,
    /// Whether it stands in a `#[cfg(test)]` item.
    pub in_test: bool,
}

impl Mention {
    /// The module of ours that it leads into, if it does.
    pub fn module(&self) -> Option<&str> {
        match self.path.as_slice() {
            [first, module, ..] if first == "crate" || first == "turnpike" => Some(module),
            _ => None,
        }
    }
}

impl Source {
    /// Parses `text`, which stands at `path` below `src/`.
    pub fn read(path: &str, text: &str) -> syn::Result<Self> {
        let file = syn::parse_file(text)?;
        let home = home(path);
        let module = home.first().cloned().unwrap_or_default();
        let has_module_doc = file.attrs.iter().any(|attribute| attribute.path().is_ident("doc"));
        let mut scanner = Scanner { home, ..Scanner::default() };
        scanner.visit_file(&file);
        let Scanner { unsafe_lines, test_modules, mentions, .. } = scanner;
        Ok(Self { path: path.to_owned(), module, has_module_doc, unsafe_lines, test_modules, mentions })
    }

    /// Takes all that a file says as said in a test if another file declares it for tests alone.
    pub fn judge_as_test_if_declared(&mut self, test_modules: &[Vec<String>]) {
        let home = home(&self.path);
        if test_modules.iter().any(|module| home.starts_with(module)) {
            self.mentions.iter_mut().for_each(|mention| mention.in_test = true);
        }
    }
}

/// The module path of a file: `tunnel/deep/a.rs` is `tunnel::deep::a`, `mod.rs` its folder.
fn home(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

#[derive(Default)]
struct Scanner {
    /// The module that the visitor is in.
    home: Vec<String>,
    in_test: bool,
    unsafe_lines: Vec<usize>,
    test_modules: Vec<Vec<String>>,
    mentions: Vec<Mention>,
}

impl Scanner {
    fn mention(&mut self, path: Vec<String>, line: usize) {
        let path = self.absolute(path);
        self.mentions.push(Mention { path, line, in_test: self.in_test });
    }

    fn absolute(&self, path: Vec<String>) -> Vec<String> {
        let ups = path.iter().take_while(|segment| *segment == "super").count();
        let from_self = path.first().is_some_and(|first| first == "self");
        if ups == 0 && !from_self {
            return path;
        }
        let kept = self.home.len().saturating_sub(ups);
        let skipped = if from_self { 1 } else { ups };
        let own = self.home[..kept].iter().cloned();
        std::iter::once("crate".to_owned()).chain(own).chain(path.into_iter().skip(skipped)).collect()
    }

    fn use_tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.use_tree(&path.tree, &with(&path.ident)),
            UseTree::Name(name) if name.ident == "self" => self.mention(before.to_vec(), name.span().start().line),
            UseTree::Name(name) => self.mention(with(&name.ident), name.span().start().line),
            UseTree::Rename(rename) => self.mention(with(&rename.ident), rename.span().start().line),
            UseTree::Glob(glob) => self.mention(before.to_vec(), glob.span().start().line),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.use_tree(item, before)),
        }
    }

    /// Paths in a macro's tokens, which syn leaves unparsed: identifiers joined by `::`.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        path.clear();
                    }
                    colons = 0;
                    if ident == "unsafe" {
                        self.unsafe_lines.push(ident.span().start().line);
                    }
                    path.push(ident.to_string());
                    if path.len() > 1 {
                        self.mention(path.clone(), ident.span().start().line);
                    }
                }
                TokenTree::Group(group) => {
                    path.clear();
                    colons = 0;
                    self.tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    path.clear();
                    colons = 0;
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Scanner {
    fn visit_item(&mut self, item: &'ast Item) {
        let before = self.in_test;
        self.in_test |= attributes(item).iter().any(is_cfg_test);
        match item {
            Item::Mod(module) if module.content.is_some() => {
                self.home.push(module.ident.to_string());
                visit::visit_item(self, item);
                self.home.pop();
            }
            Item::Mod(module) => {
                if self.in_test {
                    self.test_modules.push(self.home.iter().cloned().chain([module.ident.to_string()]).collect());
                }
                visit::visit_item(self, item);
            }
            _ => visit::visit_item(self, item),
        }
        self.in_test = before;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.mention(segments, path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.tokens(invocation.tokens.clone());
        visit::visit_macro(self, invocation);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.unsafe_lines.push(block.span().start().line);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let Some(token) = signature.unsafety {
            self.unsafe_lines.push(token.span().start().line);
        }
        visit::visit_signature(self, signature);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(token) = item.unsafety {
            self.unsafe_lines.push(token.span().start().line);
        }
        visit::visit_item_impl(self, item);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Mod(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    matches!(&attribute.meta, Meta::List(list) if list.path.is_ident("cfg") && list.tokens.to_string() == "test")
}
