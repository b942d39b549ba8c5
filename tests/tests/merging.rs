//! Two departments know the same person: one datum, one source.

use anyhow::{Result, ensure};
use hutong_schema::library::LibraryId;
use hutong_tests::harness::exchange::{SOON, Wish, scene};
use hutong_tests::harness::rows::person;
use hutong_tests::harness::wait::until_true;
use hutong_tests::harness::{Exchange, delivered, entries};

/// The fields of a person as the subscriber holds them: name and telephone number.
fn held(exchange: &Exchange, grant: u64, key: &str) -> Result<(Option<String>, Option<String>)> {
    let held = delivered::held(&exchange.machines[2].delivered(grant))?;
    let Some(row) = held.get(key) else { return Ok((None, None)) };
    let text = |name: &str| row[name].as_str().map(str::to_owned);
    Ok((text("xm"), text("lxdh")))
}

#[test]
fn fields_come_from_the_most_authoritative_source_that_has_them() -> Result<()> {
    scene(|exchange| {
        let key = person(0)?.sfzh;
        let some = |text: &str| Some(text.to_owned());
        for (number, (name, authority, line)) in [
            // Less authoritative, but the only one with a telephone number.
            ("health", 20, format!("{key},示例乙,555-0100")),
            ("police", 10, format!("{key},示例甲,")),
        ]
        .into_iter()
        .enumerate()
        {
            let code = entries::department_code(number)?;
            let resource = format!("10100{number}/000001");
            let entry = entries::bound(&resource, code, LibraryId::POPULATION, authority)?;
            let machine = exchange.department(name)?;
            machine.write("people.csv", format!("sfzh,xm,lxdh\n{line}\n"))?;
            machine.publish(&format!("n{number}"), &entry, "people.csv")?.max_delete_percent =
                Some(100);
            exchange.run(number)?;
            exchange.rows(&entry.code, 1, SOON)?;
        }
        exchange.department("social")?.subscribe("s1", "all");
        exchange.run(2)?;
        let wish = Wish { target: "population", fields: &["xm", "lxdh"], filter: "" };
        let grant = exchange.grant(2, &wish)?;
        let expect =
            |exchange: &Exchange, what: &str, expected: (Option<String>, Option<String>)| {
                until_true(SOON, what, || Ok(held(exchange, grant, &key)? == expected))
            };
        let merged = (some("示例甲"), some("555-0100"));
        expect(exchange, "the merged record is delivered", merged.clone())?;

        let shown = exchange.hub.lookup("population", &key)?;
        ensure!(shown.contains("示例甲") && shown.contains("555-0100"), "{shown}");

        // The authoritative source learns a number; it wins.
        exchange.machines[1]
            .write("people.csv", format!("sfzh,xm,lxdh\n{key},示例甲,555-0111\n"))?;
        expect(exchange, "the better number is delivered", (some("示例甲"), some("555-0111")))?;

        // It forgets the person; what the other one says comes through.
        exchange.machines[1]
            .write("people.csv", format!("sfzh,xm,lxdh\n{},旁人,\n", person(1)?.sfzh))?;
        expect(exchange, "the other source comes through", (some("示例乙"), some("555-0100")))?;
        Ok(())
    })
}
