# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154  # guests expand their own; lib.sh and run share variables
#
# kvmbox docker, as a user of the docker command sees it. What the docker host promises of containers is
# dockerhost.sh's.
# shellcheck source=tests/lab/netlib.sh
. "$lab/netlib.sh"

# need_docker: the docker command, that of the docker host's own image, and a root for containers.
need_docker() {
	local image
	image=$(dirname "$kvmbox")/guest/docker-host.erofs
	[[ -f $image ]] || skip "the docker host is not built (meson configure -Ddocker_host=true)"
	need_mem 1400
	modprobe erofs 2>/dev/null || skip "the host's kernel has no erofs"
	mount_image "$image" "$dir/image" ro
	mkdir -p bin data /var/lib/kvmbox/docker
	cp image/usr/bin/docker bin/
	PATH=$dir/bin:$PATH
	mount --bind data /var/lib/kvmbox/docker
	make_tree box
	for name in sh cat echo ls mount sleep dd sed httpd id kill wget; do
		ln -sf busybox "box/bin/$name"
	done
	mkdir -p box/www
	echo 'the page of a container' >box/www/page
}

# docker_up ARG...: as the README has it.
docker_up() {
	"$kvmbox" docker up --mem 1G --cpus 1 --disk 3G "$@" >up.out
	[[ $(<up.out) == 'export DOCKER_HOST=unix:///run/kvmbox/vm/docker/docker.sock' ]] || fail "docker up prints $(<up.out)"
	eval "$(<up.out)"
}

limit_client=1400
case_client() {
	local begin=$SECONDS answered
	own_host
	need_docker
	docker_up -p 8080:8080
	docker info >info.out || fail "docker info does not answer"
	answered=$((SECONDS - begin))
	grep -q userns info.out || fail "there are no user namespaces in docker info: $(<info.out)"
	"$kvmbox" docker ls | grep -q '^docker .*unix:///run/kvmbox/vm/docker/docker.sock' || fail "docker ls does not list it"
	"$kvmbox" docker inspect >facts
	jq -e '.guest.filter.input == "drop" and .guest.filter.forward == "drop" and
		(.guest.dockerd | index("--icc=false")) and (.guest.dockerd | index("--no-new-privileges")) and
		(.guest.security | map(select(startswith("name=userns"))) | length == 1) and
		.guest.containers.memory_max > 0 and .guest.containers.pids_max > 0' facts ||
		fail "docker inspect says $(<facts)"

	tar -C box -c . | docker import - box >/dev/null
	[[ $(docker run --rm box /bin/echo 'from a container') == 'from a container' ]] || fail "docker run"
	status=0
	echo input | docker run -i --rm box /bin/sh -c 'cat; exit 7' >"$out" || status=$?
	expect_status 7
	expect_stdout $'input\n'

	mkdir context
	printf 'FROM box\nRUN echo built >/built\nCOPY file /file\n' >context/Dockerfile
	echo 'a file' >context/file
	DOCKER_BUILDKIT=0 docker build -q -t built context >/dev/null || fail "docker build"
	[[ $(docker run --rm built /bin/cat /built /file) == $'built\na file' ]] || fail "what was built is not there"
	printf 'COPY file /second\n' >>context/Dockerfile
	DOCKER_BUILDKIT=1 docker build -q -t built context >/dev/null || fail "docker build by BuildKit"
	[[ $(docker run --rm built /bin/cat /second) == 'a file' ]] || fail "what BuildKit built is not there"

	docker run -d --name web -p 8080:80 -v keep:/keep box /bin/httpd -f -p 80 -h /www >/dev/null
	await 30 "the published port" http '' 127.0.0.1 8080
	[[ $(http '' 127.0.0.1 8080) == 'the page of a container' ]] || fail "the published port"
	docker exec web /bin/sh -c 'echo kept >/keep/file'
	docker cp web:/www/page page
	[[ $(<page) == 'the page of a container' ]] || fail "docker cp"
	[[ -z $(docker logs web 2>&1) ]] || fail "docker logs: $(docker logs web 2>&1)"

	# A client that is cut off in the middle of a build.
	printf 'FROM box\nRUN sleep 1000\n' >context/Dockerfile
	DOCKER_BUILDKIT=0 docker build context >build.log 2>&1 &
	await 60 "the build to be in its middle" grep -q 'sleep 1000' build.log
	sleep 2
	kill -KILL $!
	wait $! || true
	docker version >/dev/null || fail "dockerd does not answer any more"

	"$kvmbox" docker down
	[[ -z $(ls /run/kvmbox/vm) ]] || fail "something is left: $(ls /run/kvmbox/vm)"
	fsck_clean data/docker.img

	docker_up
	[[ $(docker run --rm -v keep:/keep box /bin/cat /keep/file) == kept ]] || fail "the volume is not kept"

	# Its kernel panics; the host sees it and goes on.
	"$kvmbox" docker shell docker /bin/sh -c 'echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger' || true
	await 60 "the end of the machine" test "$("$kvmbox" ps -aq)" = docker
	await 60 "the panic to be seen" sh -c "'$kvmbox' inspect docker | grep -q '\"reason\":[ ]*\"panic\"'"
	! docker version >/dev/null 2>&1 || fail "a dead dockerd answers"
	"$kvmbox" docker down --delete-data
	[[ -z $(ls data) && -z $(ls /run/kvmbox/vm) ]] || fail "something is left: $(ls data /run/kvmbox/vm)"
	note "docker info answered $answered s after docker up"
}

case_errors() {
	[[ -f $(dirname "$kvmbox")/guest/docker-host.erofs ]] ||
		skip "the docker host is not built (meson configure -Ddocker_host=true)"
	status=0
	"$kvmbox" docker up --name x --disk 1M >"$out" 2>"$err" || status=$?
	expect_status 125
	expect_sentence 'docker: --disk: .*at least 256M'
	status=0
	"$kvmbox" docker down --name nonesuch >"$out" 2>"$err" || status=$?
	expect_status 125
	expect_sentence 'nonesuch'
	status=0
	"$kvmbox" docker sideways >"$out" 2>"$err" || status=$?
	expect_status 125
	expect_sentence 'unknown word "sideways"'
}
