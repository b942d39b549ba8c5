//! Enrolment: the certificate leaves only after the node stands in the registry.

use hutong_certs::enrol::{EnrolEvent, NotRecorded};
use hutong_schema::wire::v1::RefusalCode;

use super::Rooms;
use crate::govern::Command;

/// Serves a connection that speaks the enrolment protocol.
pub(super) async fn serve(connection: quinn::Connection, rooms: &Rooms) {
    rooms.enrolment.answer(&connection, |event| record(rooms, event)).await;
}

async fn record(rooms: &Rooms, event: EnrolEvent) -> Result<(), NotRecorded> {
    match event {
        EnrolEvent::Enrolled { identity, serial, not_after, again, software } => {
            let command = Command::EnrolNode {
                department: identity.department,
                department_name: None,
                name: identity.node.clone(),
                certificate_serial: serial.to_string(),
                expires: not_after,
            };
            let recorded = rooms.governor.command(command).await;
            recorded.map_err(|refused| NotRecorded::Failed(refused.to_string()))?;
            count("hutong_enrolments_total", "enrolled");
            tracing::info!(%identity, %not_after, again, software, "node enrolled");
            Ok(())
        }
        EnrolEvent::Renewed { identity, replaces, serial, not_after, expired, software } => {
            let command = Command::RenewNode {
                department: identity.department,
                name: identity.node.clone(),
                replaces: replaces.to_string(),
                certificate_serial: serial.to_string(),
                expires: not_after,
            };
            if let Err(refused) = rooms.governor.command(command).await {
                count("hutong_renewals_total", "refused");
                tracing::warn!(%identity, %replaces, %refused, "renewal refused");
                return Err(match refused.reason() {
                    Some(RefusalCode::UnknownNode | RefusalCode::Revoked) => {
                        NotRecorded::Refused(refused)
                    }
                    Some(_) | None => NotRecorded::Failed(refused.to_string()),
                });
            }
            count("hutong_renewals_total", "renewed");
            match expired {
                Some(since) => {
                    tracing::info!(%identity, %not_after, %since, software, "an expired certificate was renewed");
                }
                None => tracing::debug!(%identity, %not_after, software, "certificate renewed"),
            }
            Ok(())
        }
        EnrolEvent::NotRenewed { identity, reason, detail } => {
            count("hutong_renewals_total", "refused");
            let identity = identity.map_or_else(String::new, |identity| identity.to_string());
            tracing::warn!(identity, ?reason, detail, "renewal refused");
            Ok(())
        }
        EnrolEvent::Refused { department, node, reason, detail } => {
            count("hutong_enrolments_total", "refused");
            tracing::warn!(%department, %node, ?reason, detail, "enrolment refused");
            Ok(())
        }
    }
}

fn count(name: &'static str, result: &'static str) {
    metrics::counter!(name, "result" => result).increment(1);
}
