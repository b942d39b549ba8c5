# Runs in the booted system, with both packages installed, the hub's configuration written and the samples in /srv.
# Prints what was looked at; "passed" is the last line if all is as it should be.
set -eu

property() { systemctl show --property="$2" --value "hutong-$1"; }

# until_is UNIT PROPERTY PATTERN: within a minute.
until_is() {
    local end=$((SECONDS + 60)) value=
    while [ $SECONDS -lt $end ]; do
        value=$(property "$1" "$2")
        # shellcheck disable=SC2053
        if [[ $value == $3 ]]; then
            echo "$1: $2=$value"
            return
        fi
        sleep 0.2
    done
    echo "$1: $2=$value, not $3"
    systemctl status --no-pager "hutong-$1"
    exit 1
}

echo "--- founded, started, connected, under all restrictions"
runuser -u hutong-hub -- hutong-hub --config /etc/hutong/hub.toml init >/dev/null
systemctl start hutong-hub
until_is hub ActiveState active
HUTONG_CONFIG=/etc/hutong/hub.toml hutong-hub token sheet /srv/nodes.csv --out /srv/tokens.csv
install -o hutong-agent -g hutong-agent -m 600 /srv/tokens.csv /var/lib/hutong-agent/tokens.csv
systemctl start hutong-agent
until_is agent StatusText "1 of 1 node(s) connected, 0 batch(es) not acknowledged; everything works"
until_is hub StatusText "serving, 1 node(s) connected"
for unit in agent hub; do
    restrictions=$(grep -E '^(CapBnd|NoNewPrivs|Seccomp):' "/proc/$(property $unit MainPID)/status" | tr -s '\t\n' ' ')
    echo "$unit: $restrictions"
    [ "$restrictions" = "CapBnd: 0000000000000000 NoNewPrivs: 1 Seccomp: 2 " ]
done
end=$((SECONDS + 60))
until hutong-agent status --json | grep -q '"accepted": 3'; do [ $SECONDS -lt $end ]; done
echo "agent: three rows are accepted"

echo "--- one that stands still is ended and started again"
for unit in agent hub; do
    mkdir -p "/etc/systemd/system/hutong-$unit.service.d"
    printf '[Service]\nWatchdogSec=6\nRestartSec=1\n' >"/etc/systemd/system/hutong-$unit.service.d/soon.conf"
done
systemctl daemon-reload
systemctl restart hutong-hub hutong-agent
before="$(property agent MainPID) $(property hub MainPID)"
# Longer than the watchdog waits.
sleep 8
[ "$before" = "$(property agent MainPID) $(property hub MainPID)" ]
echo "both live on while they give signs of life"
for unit in agent hub; do
    kill -STOP "$(property $unit MainPID)"
    until_is $unit NRestarts 1
done
until_is agent StatusText "1 of 1 *everything works"

echo "--- a full disk"
printf '[disk]\nlow_percent = 100\nfull_percent = 99\n' >>/etc/hutong/hub.toml
systemctl restart hutong-hub || true
until_is hub ActiveState failed
until_is hub ExecMainStatus 28
until_is hub StatusText "the disk is full: make room, then start it again"
# It would have been started again after a second.
sleep 3
until_is hub ActiveState failed

echo "--- stopped"
systemctl stop hutong-agent
until_is agent Result success
echo passed
