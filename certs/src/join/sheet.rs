//! Sheets: the tokens of many nodes as a CSV file, to hand out department by department.
//!
//! Columns: `department,department_name,node,token,expires`, found by name, in any order; a byte
//! order mark is passed over, so a sheet may go through a spreadsheet program.

use std::path::Path;

use hutong_schema::ids::{CreditCode, IdError, NodeName};

use super::token::{JoinToken, TokenError};
use crate::files::{self, Access, FileError};

const COLUMNS: [&str; 5] = ["department", "department_name", "node", "token", "expires"];

/// Largest sheet that is read, bytes: room for 50,000 nodes.
const SHEET_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// One line of a sheet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SheetRow {
    /// The department's name, for the person who hands the sheet out.
    pub department_name: String,
    /// The token, which names department, node and expiry.
    pub token: JoinToken,
}

/// Why a sheet cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not CSV.
    #[error("the sheet is not a CSV table")]
    Csv(#[from] csv::Error),
    /// A column is missing.
    #[error("the sheet has no column {0:?}")]
    Column(&'static str),
    /// A token does not read.
    #[error("line {line} of the sheet: {source}")]
    Token {
        /// Line, counted from 1.
        line: u64,
        /// What is wrong with it.
        source: TokenError,
    },
    /// A department or node does not read.
    #[error("line {line} of the sheet, {column}: {source}")]
    Identifier {
        /// Line, counted from 1.
        line: u64,
        /// Column.
        column: &'static str,
        /// What is wrong with it.
        source: IdError,
    },
    /// The token of a line is another node's: lines were mixed up.
    #[error("line {line} of the sheet: the token is for {department} {node}")]
    Mixed {
        /// Line, counted from 1.
        line: u64,
        /// Whom the token is for.
        department: CreditCode,
        /// Which node it is for.
        node: NodeName,
    },
}

/// Writes a sheet, readable by its owner only: whoever reads it can become its nodes.
///
/// # Errors
/// When the file cannot be written.
pub fn save(path: &Path, rows: &[SheetRow]) -> Result<(), SheetError> {
    Ok(files::write_atomic(path, &to_csv(rows)?, Access::Private)?)
}

/// Reads a sheet. Line ends and spreadsheet programs do not matter; the names of departments are
/// for people and are taken as they are.
///
/// # Errors
/// When it cannot be read, or a line does not fit its token.
pub fn load(path: &Path) -> Result<Vec<SheetRow>, SheetError> {
    let bytes = std::fs::metadata(path)
        .and_then(|about| match about.len() {
            0..=SHEET_BYTES_MAX => std::fs::read(path),
            _ => Err(std::io::ErrorKind::FileTooLarge.into()),
        })
        .map_err(|e| FileError::new("read", path, e))?;
    from_csv(&bytes)
}

/// A sheet as CSV text.
///
/// # Errors
/// Never in practice: writing to memory does not fail.
pub fn to_csv(rows: &[SheetRow]) -> Result<Vec<u8>, SheetError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for SheetRow { department_name, token } in rows {
        writer.write_record([
            token.department.as_str(),
            department_name,
            token.node.as_str(),
            &token.to_text(),
            &token.expires.to_string(),
        ])?;
    }
    writer.into_inner().map_err(|e| csv::Error::from(e.into_error()).into())
}

/// Reads CSV text as a sheet.
///
/// # Errors
/// As [`load`].
pub fn from_csv(bytes: &[u8]) -> Result<Vec<SheetRow>, SheetError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let headers = reader.byte_headers()?.clone();
    let column = |name: &'static str| {
        headers.iter().position(|h| h == name.as_bytes()).ok_or(SheetError::Column(name))
    };
    let (department, name) = (column("department")?, column("department_name").ok());
    let (node, token) = (column("node")?, column("token")?);
    let mut rows = Vec::new();
    for record in reader.byte_records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let text = |at: usize| String::from_utf8_lossy(record.get(at).unwrap_or_default());
        let identifier = |column, source| SheetError::Identifier { line, column, source };
        let written: (CreditCode, NodeName) = (
            text(department).parse().map_err(|e| identifier("department", e))?,
            text(node).parse().map_err(|e| identifier("node", e))?,
        );
        let token: JoinToken =
            text(token).parse().map_err(|source| SheetError::Token { line, source })?;
        if written != (token.department, token.node.clone()) {
            return Err(SheetError::Mixed { line, department: token.department, node: token.node });
        }
        let department_name = name.map(|at| text(at).into_owned()).unwrap_or_default();
        rows.push(SheetRow { department_name, token });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::Secret;
    use crate::roots::CaFingerprint;

    fn row(node: &str, secret: u8) -> SheetRow {
        SheetRow {
            department_name: "示例市卫生健康委, \"测试\"".to_owned(),
            token: JoinToken {
                authority: CaFingerprint([7; 32]),
                secret: Secret::new([secret; 32]),
                department: "11100000000013338W".parse().unwrap(),
                node: node.parse().unwrap(),
                expires: "2026-12-21T12:00:00Z".parse().unwrap(),
            },
        }
    }

    #[test]
    fn a_sheet_survives_its_file_with_and_without_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.csv");
        let rows = [row("n0001", 1), row("n0002", 2)];
        save(&path, &rows).unwrap();
        assert_eq!(load(&path).unwrap(), rows);
        let mut marked = b"\xef\xbb\xbf".to_vec();
        marked.extend(to_csv(&rows).unwrap());
        assert_eq!(from_csv(&marked).unwrap(), rows);
    }

    #[test]
    fn mixed_up_lines_typing_errors_and_missing_columns_are_told_with_their_place() {
        let text = String::from_utf8(to_csv(&[row("n0001", 1)]).unwrap()).unwrap();
        let mixed = text.replace(",n0001,", ",n0002,");
        assert!(matches!(from_csv(mixed.as_bytes()), Err(SheetError::Mixed { line: 2, .. })));
        let typo = text.replace(",htj1-a", ",htj1-b");
        assert!(
            matches!(from_csv(typo.as_bytes()), Err(SheetError::Token { line: 2, .. }))
                || typo == text
        );
        let missing = text.replace("token", "tok");
        assert!(matches!(from_csv(missing.as_bytes()), Err(SheetError::Column("token"))));
        let code = text.replace("11100000000013338W", "111000000000133380");
        let refused = from_csv(code.as_bytes());
        assert!(matches!(refused, Err(SheetError::Identifier { column: "department", .. })));
    }
}
