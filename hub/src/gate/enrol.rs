//! Enrolment: the certificate leaves only after the node stands in the registry.

use hutong_certs::enrol::EnrolEvent;

use super::Rooms;
use crate::govern::Command;

/// Serves a connection that speaks the enrolment protocol.
pub(super) async fn serve(connection: quinn::Connection, rooms: &Rooms) {
    rooms.enrolment.answer(&connection, |event| record(rooms, event)).await;
}

async fn record(rooms: &Rooms, event: EnrolEvent) -> Result<(), String> {
    match event {
        EnrolEvent::Enrolled { identity, serial, not_after, again, software } => {
            let command = Command::EnrolNode {
                department: identity.department,
                department_name: None,
                name: identity.node.clone(),
                certificate_serial: serial.to_string(),
            };
            rooms.governor.command(command).await.map_err(|refused| refused.to_string())?;
            metrics::counter!("hutong_enrolments_total", "result" => "enrolled").increment(1);
            tracing::info!(%identity, %not_after, again, software, "node enrolled");
            Ok(())
        }
        EnrolEvent::Refused { department, node, reason, detail } => {
            metrics::counter!("hutong_enrolments_total", "result" => "refused").increment(1);
            tracing::warn!(%department, %node, ?reason, detail, "enrolment refused");
            Ok(())
        }
    }
}
