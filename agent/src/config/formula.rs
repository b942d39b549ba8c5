//! Computed fields: a CEL expression over the columns of a source's row.
//!
//! Columns are texts and are named as in the source: `family + given`, or `row["姓名"]` where the name is
//! no identifier of CEL. Blanks around them are dropped before. A column that a row does not have is an empty text. Beside CEL's operators the
//! functions of [`FUNCTIONS`] are known. An expression is bounded: by its length, by lists that can only
//! be written out, by macros that do not nest, and by functions whose results are no longer than what
//! they are given.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::ast::operators::INDEX;
use cel::common::ast::{Expr, IdedExpr, LiteralValue};
use cel::common::types::CelString;
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use cel::parser::{ParseErrors, Parser};
use cel::{Context, Env, Value, extensions};

/// Longest expression, bytes: what a person writes into a configuration, and little to recurse into.
pub const FORMULA_BYTES_MAX: usize = 1_000;
/// Deepest nesting of parentheses and lists.
const DEPTH_MAX: u16 = 32;
/// Longest explanation of a failure, characters: it may repeat values of the row.
const DETAIL_CHARS_MAX: usize = 200;

/// Functions and macros that an expression may call.
pub const FUNCTIONS: [&str; 18] = [
    "bool",
    "charAt",
    "contains",
    "double",
    "endsWith",
    "indexOf",
    "int",
    "lastIndexOf",
    "lowerAscii",
    "replace",
    "size",
    "startsWith",
    "string",
    "substring",
    "trim",
    "type",
    "uint",
    "upperAscii",
];

/// A checked expression.
#[derive(Clone)]
pub struct Formula {
    text: String,
    expression: Arc<IdedExpr>,
    columns: Vec<String>,
}

/// The expression cannot be used; the text says where and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormulaError(String);

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib();
    // Fails only where names are taken, and then its functions are unknown when a formula is checked.
    let _ = environment.add_extension(extensions::strings);
    Arc::new(environment)
});

impl Formula {
    /// Reads and checks an expression.
    ///
    /// # Errors
    /// With the place of the mistake.
    pub fn parse(text: &str) -> Result<Self, FormulaError> {
        if text.len() > FORMULA_BYTES_MAX {
            let length = text.len();
            return Err(FormulaError(format!(
                "is {length} bytes long, {FORMULA_BYTES_MAX} are allowed"
            )));
        }
        // The parser is generated code that was not written for mistakes of every kind.
        let parser = Parser::new().max_recursion_depth(DEPTH_MAX);
        let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse(text)));
        let mut expression = parsed
            .map_err(|_| FormulaError("cannot be read as CEL".to_owned()))?
            .map_err(|errors| in_words(&errors))?;
        let mut check = Check { columns: Vec::new(), bound: Vec::new() };
        check.expression(&mut expression)?;
        Ok(Self { text: text.to_owned(), expression: Arc::new(expression), columns: check.columns })
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Names of the columns that it needs.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Its value as text, with the texts of the columns.
    ///
    /// # Errors
    /// When it has no value, or one that is no text, number or logical value; the text says why.
    pub fn evaluate<'t>(
        &self,
        column: impl Fn(&str) -> Option<&'t str> + Send + Sync,
    ) -> Result<String, FormulaError> {
        let columns = Columns(column, PhantomData);
        let evaluated = catch_unwind(AssertUnwindSafe(|| {
            let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
            context.set_variable_resolver(&columns);
            Value::resolve(&self.expression, &context)
        }));
        let value =
            evaluated.map_err(|_| FormulaError("the expression failed".to_owned()))?.map_err(
                |error| FormulaError(error.to_string().chars().take(DETAIL_CHARS_MAX).collect()),
            )?;
        match value {
            Value::String(text) => Ok(Arc::unwrap_or_clone(text)),
            Value::Int(number) => Ok(number.to_string()),
            Value::UInt(number) => Ok(number.to_string()),
            Value::Float(number) if number.is_finite() => Ok(number.to_string()),
            Value::Bool(yes) => Ok(yes.to_string()),
            Value::Null => Ok(String::new()),
            Value::Float(_)
            | Value::List(_)
            | Value::Map(_)
            | Value::Function(..)
            | Value::Bytes(_)
            | Value::Opaque(_)
            | Value::Struct(_) => Err(FormulaError(format!(
                "the result is a {}, not a text, number or logical value",
                value.type_of()
            ))),
        }
    }
}

impl PartialEq for Formula {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Formula {}

impl std::fmt::Debug for Formula {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Formula").field(&self.text).finish()
    }
}

fn in_words(errors: &ParseErrors) -> FormulaError {
    let line = |error: &cel::ParseError| {
        let (line, column) = error.pos;
        format!("line {line}, column {column}: {}", error.msg)
    };
    let lines: Vec<_> = errors.errors.iter().take(3).map(line).collect();
    FormulaError(lines.join("; "))
}

struct Columns<'t, F>(F, PhantomData<&'t str>);

impl<'t, F: Fn(&str) -> Option<&'t str> + Send + Sync> VariableResolver for Columns<'t, F> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        (self.0)(variable).map(|text| CowVal::owned(CelString::from(text)))
    }
}

/// Walks an expression: notes columns, makes `row["name"]` the column itself, and refuses what is not
/// bounded.
struct Check {
    columns: Vec<String>,
    /// Names that a macro introduces.
    bound: Vec<String>,
}

impl Check {
    fn expression(&mut self, expression: &mut IdedExpr) -> Result<(), FormulaError> {
        if let Some(name) = column_of_row(&expression.expr)? {
            expression.expr = Expr::Ident(name);
        }
        match &mut expression.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(_) | Expr::Struct(_) | Expr::Map(_) => Err(FormulaError(
                "columns are texts without parts; a column is named alone, or as row[\"name\"]"
                    .to_owned(),
            )),
            Expr::List(list) => self.all(&mut list.elements),
            Expr::Call(call) => {
                let named = call.func_name.starts_with(|c: char| c.is_ascii_alphabetic());
                if named && !FUNCTIONS.contains(&call.func_name.as_str()) {
                    return Err(FormulaError(format!(
                        "{} is not a function known here; known are {}",
                        call.func_name,
                        FUNCTIONS.join(", ")
                    )));
                }
                if call.func_name == "replace" && !shortens(&call.args) {
                    return Err(FormulaError(
                        "replace takes two texts in quotes, the second not longer than the first"
                            .to_owned(),
                    ));
                }
                if let Some(target) = &mut call.target {
                    self.expression(target)?;
                }
                self.all(&mut call.args)
            }
            Expr::Comprehension(each) => {
                if !self.bound.is_empty() {
                    return Err(FormulaError(
                        "macros such as exists() do not nest here".to_owned(),
                    ));
                }
                self.expression(&mut each.iter_range)?;
                self.bound.extend([each.iter_var.clone(), each.accu_var.clone()]);
                self.bound.extend(each.iter_var2.clone());
                for part in [
                    &mut each.accu_init,
                    &mut each.loop_cond,
                    &mut each.loop_step,
                    &mut each.result,
                ] {
                    self.expression(part)?;
                }
                self.bound.clear();
                Ok(())
            }
        }
    }

    fn all(&mut self, expressions: &mut [IdedExpr]) -> Result<(), FormulaError> {
        expressions.iter_mut().try_for_each(|each| self.expression(each))
    }

    fn name(&mut self, name: &str) -> Result<(), FormulaError> {
        if name == ROW {
            return Err(FormulaError("row is used as row[\"name of a column\"]".to_owned()));
        }
        let type_name = ["bool", "double", "int", "string", "uint"].contains(&name);
        if !type_name && !self.bound.iter().chain(&self.columns).any(|known| known == name) {
            self.columns.push(name.to_owned());
        }
        Ok(())
    }
}

const ROW: &str = "row";

/// The name in `row["name"]` or `row.name`.
fn column_of_row(expression: &Expr) -> Result<Option<String>, FormulaError> {
    let is_row = |operand: &IdedExpr| matches!(&operand.expr, Expr::Ident(name) if name == ROW);
    if let Expr::Select(select) = expression
        && is_row(&select.operand)
    {
        if select.test {
            let said = "has() is not known here; an absent column is the empty text";
            return Err(FormulaError(said.to_owned()));
        }
        return Ok(Some(select.field.clone()));
    }
    if let Expr::Call(call) = expression
        && call.func_name == INDEX
        && let [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(name)), .. }] =
            call.args.as_slice()
        && is_row(operand)
    {
        return Ok(Some(name.inner().to_owned()));
    }
    Ok(None)
}

/// Whether the arguments of `replace` cannot make a text longer.
fn shortens(arguments: &[IdedExpr]) -> bool {
    let text = |at: usize| match arguments.get(at).map(|argument| &argument.expr) {
        Some(Expr::Literal(LiteralValue::String(text))) => Some(text.inner().chars().count()),
        _ => None,
    };
    match (text(0), text(1)) {
        (Some(searched), Some(put)) => searched > 0 && put <= searched,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluated(text: &str) -> Result<String, String> {
        let formula = Formula::parse(text).map_err(|error| error.to_string())?;
        let column = |name: &str| match name {
            "family" => Some("示"),
            "given" => Some("例"),
            "id" => Some("11010519491231002X"),
            "amount" => Some("12.5"),
            "姓名" => Some("示例"),
            "empty" => Some(""),
            _ => None,
        };
        formula.evaluate(column).map_err(|error| error.to_string())
    }

    #[test]
    fn columns_are_named_alone_or_in_brackets() {
        assert_eq!(evaluated("family + given").unwrap(), "示例");
        assert_eq!(evaluated("row[\"姓名\"] + row.given").unwrap(), "示例例");
        let formula = Formula::parse("row['姓名'] == '' ? family + family : given").unwrap();
        assert_eq!(formula.columns(), ["姓名", "family", "given"]);
    }

    #[test]
    fn values_become_text() {
        for (text, value) in [
            ("id.substring(6, 14)", "19491231"),
            ("int(id.substring(16, 17)) % 2 == 0 ? '2' : '1'", "2"),
            ("size(row['姓名'])", "2"),
            ("double(amount) * 2.0", "25"),
            ("empty == ''", "true"),
            ("null", ""),
            ("['1', '2'].exists(x, x == id.charAt(0))", "true"),
            ("id in ['a', 'b'] ? 'in' : 'out'", "out"),
            ("id.replace('X', 'x').lowerAscii()", "11010519491231002x"),
        ] {
            assert_eq!(evaluated(text).as_deref(), Ok(value), "{text}");
        }
    }

    #[test]
    fn a_value_that_does_not_exist_is_said_so() {
        for text in
            ["int(family)", "1 / int(amount.substring(0, 0) + '0')", "[1]", "id.substring(30)"]
        {
            assert!(evaluated(text).is_err(), "{text}");
        }
        assert!(evaluated("[1]").unwrap_err().contains("list"));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let said = Formula::parse("family + ").unwrap_err().to_string();
        assert!(said.starts_with("line 1, column "), "{said}");
        for (text, part) in [
            ("now()", "now is not a function"),
            ("row", "row[\"name"),
            ("family.given", "without parts"),
            ("has(row.x)", "has()"),
            ("id.replace('', 'xx')", "not longer"),
            ("id.replace('X', family)", "not longer"),
            ("[1].exists(x, [2].exists(y, x == y))", "do not nest"),
        ] {
            let said = Formula::parse(text).unwrap_err().to_string();
            assert!(said.contains(part), "{text}: {said}");
        }
        assert!(Formula::parse(&"a".repeat(FORMULA_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn deep_and_long_expressions_fit_the_stack_of_a_small_thread() {
        let nested = format!("{}a{}", "(".repeat(490), ")".repeat(490));
        let long = vec!["id"; 300].join("+");
        let calls = format!("id{}", ".trim()".repeat(140));
        let run = move || {
            assert!(Formula::parse(&nested).is_err());
            for text in [long, calls] {
                assert!(evaluated(&text).is_ok());
            }
        };
        // As large as the agent's threads.
        std::thread::Builder::new().stack_size(1024 * 1024).spawn(run).unwrap().join().unwrap();
    }
}
