#!/bin/sh
# Install the system programs that some tests need, where we may. Never fails: a test skips when its program is missing.
missing=""
need() { # need PACKAGE COMMAND [COMMAND …]: any one of the commands will do
    package=$1
    shift
    for command; do
        if command -v "$command" >/dev/null 2>&1; then return; fi
    done
    missing="$missing $package"
}
need chromium chromium chromium-browser google-chrome
need nodejs node nodejs
need redis-server redis-server
need prometheus-alertmanager prometheus-alertmanager alertmanager
need prometheus promtool
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "Not installed, and there is no apt-get:$missing" >&2
    exit 0
fi
as_root=""
if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then
        echo "Not installed, and this needs root:$missing" >&2
        exit 0
    fi
    as_root="sudo -n"
fi

echo "Installing$missing ..." >&2
# RUNLEVEL=1 keeps the packages from starting their services: the tests start their own.
install() {
    # shellcheck disable=SC2086  # words are meant
    $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}
$as_root apt-get update -qq >/dev/null 2>&1
# shellcheck disable=SC2086
install $missing || for package in $missing; do
    install "$package" || echo "Could not install $package; the tests that need it skip." >&2
done
exit 0
