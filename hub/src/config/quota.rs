//! What departments may store.

use std::collections::HashMap;

use hutong_schema::ids::CreditCode;

use super::{MIB, Reader};
use crate::intake::{Quota, Quotas};

const DEPARTMENTS: &str = "quota.departments";

pub(super) fn read(reader: &mut Reader) -> Quotas {
    let all = bounds(reader, "quota", Quotas::default().all);
    let mut own = HashMap::new();
    for name in reader.names_in(DEPARTMENTS) {
        let key = format!("{DEPARTMENTS}.{name}");
        // Variables of the environment come in small letters.
        let department = name.to_ascii_uppercase().parse::<CreditCode>();
        let known = department.as_ref().ok().and_then(|department| own.get(department));
        let quota = bounds(reader, &key, known.copied().unwrap_or(all));
        match department {
            Ok(department) => drop(own.insert(department, quota)),
            Err(error) => reader.wrong(&key, format!("is not a department's code: {error}")),
        }
    }
    Quotas { all, own }
}

fn bounds(reader: &mut Reader, table: &str, default: Quota) -> Quota {
    let mib = MIB as u64;
    Quota {
        rows: reader.number(&format!("{table}.rows"), default.rows, 0..=1 << 50),
        bytes: reader.number(&format!("{table}.mib"), default.bytes / mib, 0..=1 << 40) * mib,
        entries: reader.number(&format!("{table}.entries"), default.entries, 0..=1_000_000),
    }
}
