//! The state folder: its rights, its disk, the store and the outbox in it.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use hutong_schema::words::in_full;

use super::{
    disk,
    finding::{Area, Finding, text},
};
use crate::{
    app::store_options,
    config::Config,
    spool::{Store, StoreError},
};

/// Rights of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Share of the outbox above which it is worth knowing, percent.
const FULL_PERCENT: u64 = 80;

/// The folder itself, and its disk.
pub(super) fn folder(config: &Config) -> Vec<Finding> {
    let path = &config.state_dir;
    let mut findings = Vec::new();
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.push(disk::folder_to_be(Area::State, path));
        }
        Err(error) => findings.push(unusable(&error.to_string()).of(path.display())),
        Ok(facts) => {
            findings.extend(disk::not_writable(Area::State, path));
            if facts.permissions().mode() & OTHERS != 0 {
                findings.push(open_to_others(path));
            }
            let us = rustix::process::geteuid().as_raw();
            if facts.uid() != us {
                findings.push(other_owner(path, facts.uid(), us));
            }
        }
    }
    findings.push(disk::room(Area::State, path, config.outbox_cap_bytes));
    findings
}

/// The store of an agent that does not run; `None` if there is none, or it cannot be opened.
pub(super) fn store(config: &Config) -> (Vec<Finding>, Option<Store>) {
    let path = config.store_dir();
    if !path.exists() {
        let finding = Finding::note(
            Area::State,
            text("there is no store yet", "尚无存储"),
            text("the agent has never run with this configuration", "代理从未以此配置运行"),
            text("start it: hutong-agent run", "启动代理：hutong-agent run"),
        );
        return (vec![finding.of(path.display())], None);
    }
    match Store::open(&path, store_options(config)) {
        Ok(store) => {
            let sound = text("the store opens and is sound", "存储可以打开，内容完好");
            (vec![Finding::fine(Area::State, sound).of(path.display())], Some(store))
        }
        Err(error) => (vec![unopened(&error).of(path.display())], None),
    }
}

/// How full the outbox is.
pub(super) fn outbox(used: u64, cap: u64) -> Finding {
    let percent = used.saturating_mul(100) / cap.max(1);
    let found = text(
        format!("{percent} % of the outbox is filled ({} of {} KiB)", used / 1024, cap / 1024),
        format!("发件箱已使用 {percent}%（{} / {} KiB）", used / 1024, cap / 1024),
    );
    if percent < FULL_PERCENT {
        return Finding::fine(Area::Outbox, found);
    }
    Finding::note(
        Area::Outbox,
        found,
        text(
            "sources give more than the hub takes; when it is full, reading pauses and goes on by itself",
            "数据源产生的数据多于枢纽接收的；写满后读取暂停，之后自动继续",
        ),
        text(
            "see whether the nodes are connected: hutong-agent status; for longer absences of the hub raise [outbox] cap_bytes",
            "用 hutong-agent status 查看节点是否连接；若枢纽经常长时间离线，请调大 [outbox] cap_bytes",
        ),
    )
}

fn unopened(error: &StoreError) -> Finding {
    let why = in_full(error);
    let (means, act) = match error {
        StoreError::InUse { .. } => (
            text(
                "another process works with this state folder, and does not answer on [status] socket",
                "另一个进程正在使用该状态目录，且未在 [status] socket 上应答",
            ),
            text(
                "find it (fuser on the store's file) and end it, or correct [state] dir or [status] socket",
                "找到该进程（对存储文件使用 fuser）并结束它，或修正 [state] dir 或 [status] socket",
            ),
        ),
        StoreError::Damaged { .. } | StoreError::Record(_) => (
            text(
                "what it held is read and sent again; nothing that the hub has is lost",
                "其中的内容会重新读取并发送；枢纽已有的数据不会丢失",
            ),
            text(
                "start the agent: it sets the damaged store aside by itself; have the disk checked",
                "启动代理：它会自动隔离损坏的存储；请检查磁盘",
            ),
        ),
        StoreError::File { .. }
        | StoreError::Engine { .. }
        | StoreError::Closed
        | StoreError::Conflict { .. }
        | StoreError::Payload(_)
        | StoreError::Cancelled => (
            text("the agent cannot start", "代理无法启动"),
            text(
                "let the agent's user read and write the folder; have the disk checked",
                "让运行代理的用户能读写该目录；请检查磁盘",
            ),
        ),
    };
    let found = text(format!("the store cannot be opened: {why}"), format!("无法打开存储：{why}"));
    Finding::person(Area::State, found, means, act)
}

fn unusable(why: &str) -> Finding {
    Finding::person(
        Area::State,
        text(format!("the folder cannot be looked at: {why}"), format!("无法查看该目录：{why}")),
        text("the agent cannot start", "代理无法启动"),
        text(
            "run the doctor as the agent's user, or correct the folder's rights",
            "以运行代理的用户执行本命令，或修正目录权限",
        ),
    )
}

fn open_to_others(path: &Path) -> Finding {
    Finding::note(
        Area::State,
        text("other users of this machine may look into the folder", "本机其他用户可以查看该目录"),
        text(
            "rejected rows and the outbox hold the department's data",
            "被拒绝的记录和发件箱中有本部门的数据",
        ),
        text(format!("chmod 700 {}", path.display()), format!("chmod 700 {}", path.display())),
    )
    .of(path.display())
}

fn other_owner(path: &Path, owner: u32, us: u32) -> Finding {
    Finding::note(
        Area::State,
        text(
            format!("the folder belongs to user {owner}, the doctor runs as user {us}"),
            format!("该目录属于用户 {owner}，本命令以用户 {us} 运行"),
        ),
        text(
            "what the doctor may do, the agent perhaps may not, and the other way round",
            "本命令可以做的，代理未必可以，反之亦然",
        ),
        text(
            format!("run it as that user: sudo -u '#{owner}' hutong-agent doctor"),
            format!("以该用户运行：sudo -u '#{owner}' hutong-agent doctor"),
        ),
    )
    .of(path.display())
}
