# ruff: noqa: E501  a line of a log is written as one line
"""Lines that hold a secret and lines that only look like it, written before the rules were tuned on them.

A recipe after `⇥` says what stands at {S}; random parts are made in memory, so that no scanner finds a token here:
<a20> letters and digits, <h32> hex, <H8> upper hex, <u16> capitals and digits, <l30> small letters and digits, <d12> digits,
<w20> letters, digits, _ and -, <b40> base64, <p14> a typed password, <uuid>. `\\n` in a line is a line end.
"""

import random
import re
import string

_ALPHABETS = {
    "a": string.ascii_letters + string.digits,
    "h": "0123456789abcdef",
    "H": "0123456789ABCDEF",
    "u": string.ascii_uppercase + "234567",
    "l": string.ascii_lowercase + string.digits,
    "d": string.digits,
    "w": string.ascii_letters + string.digits + "_-",
    "b": string.ascii_letters + string.digits + "+/",
    "p": string.ascii_letters + string.digits + "!$*+_-.",
}
_PART = re.compile(r"<(?:([ahHuldwbp])(\d+)|(uuid))>")

FORMATS = r"""
key {S} was refused	A3T<u17>
assumed with {S} in eu-west-1	AKIA<u16>
credential {S} expired	ASIA<u16>
bedrock said 403 for {S}	ABSK<b40><b60>
adobe answered {S}: invalid	p8e-<l32>
loaded {S} from the vault	AGE-SECRET-KEY-1<u58>
airtable: {S} has no access	pat<a14>.<h64>
oss: {S} not found	LTAI<a20>
x-api-key rejected: {S}	sk-ant-api03-<w93>AA
admin key {S} revoked	sk-ant-admin01-<w93>AA
artifactory {S} 401	AKCp<a69>
artifactory reference {S} 401	cmVmd<a59>
jira said no to {S}	ATATT3<w186>
authress: {S} denied	sc_<l12>.<l5>.acc_<l16>.<w60>
login failed with {S}	<a3>8Q~<a34>
clickhouse cloud: {S}	4b1d<a38>
clojars: {S}	CLOJARS_<l60>
origin ca {S} invalid	v1.0-<h24>-<h146>
databricks auth {S}	dapi<h32>-2
overlay: {S}	dnkey-<l26>-<l52>
doctl: {S} unable to authenticate	dop_v1_<h64>
doppler says {S} is invalid	dp.pt.<a43>
dropbox: {S}	sl.<w135>
dynatrace ingest {S} rejected	dt0c01.<u24>.<u64>
easypost {S}	EZAK<a54>
graph api: {S} is no page token	EAAC<a110>
fly: {S}	fm2_<b110>
fly: {S} unauthorized	fo1_<w43>
frame.io {S}	fio-u-<w64>
maps: {S} quota exceeded	AIza<w35>
oauth: {S} invalid_grant	1//0<w61>
oauth: {S} invalid_client	GOCSPX-<w28>
remote: {S} is not valid	ghp_<a36>
remote: {S} has expired	ghs_<a36>
checkout with {S}	github_pat_<a22>_<a59>
clone with {S}	glpat-<w20>
clone with {S} (routable)	glpat-<w27>.01.<l9>
trigger {S} unknown	glptt-<h40>
runner {S} cannot register	glrt-t1_<w27>.01.<l9>
job token {S} denied	glcbt-64_<w20>
flags: {S}	glffct-<w20>
agentk: {S}	glagent-<w50>
grafana: {S} unauthorized	glsa_<a32>_<h8>
loki push: {S} unauthorized	glc_<b60>
harness: {S}	pat.<w22>.<a24>.<a20>
tfc: {S} unauthorized	<a14>.atlasv1.<w67>
heroku: {S}	HRKU-AA<w58>
hub: {S} gated repo	hf_<a34>
infracost {S}	ico-<a32>
intra {S}	s-s4t2ud-<h64>
print api: {S}	live_<h35>
debit api: {S}	live_<w40>
mail: {S} invalid	key-<h32>
mail: {S} invalid	<h32>-us14
tiles: {S}	sk.eyJ<a60>.<a22>
geoip: {S}	<a6>_<a29>_mmk
apm: {S} 403	NRAK-<u27>
browser agent {S}	NRJS-<h19>
notion: {S} unauthorized	ntn_<d11><a35>
npm notice {S} revoked	npm_<a36>
octopus: {S}	API-<u26>
sso: {S} expired	00<w40>
openai: incorrect {S}	sk-<a20>T3BlbkFJ<a20>
openai: incorrect {S}	sk-proj-<w74>T3BlbkFJ<w74>
oc login with {S} failed	sha256~<w43>
pplx {S}	pplx-<a48>
plaid: {S}	access-sandbox-<uuid>
planetscale: {S}	pscale_tkn_<w43>
postman {S}	PMAK-<h24>-<h34>
prefect: {S}	pnu_<a36>
pulumi: {S} rejected	pul-<h40>
twine: {S} 403	pypi-AgEIcHlwaS5vcmc<w100>
readme {S}	rdme_<l70>
gem push: {S}	rubygems_<h48>
scalingo {S}	tk-us-<w48>
sendgrid: {S} unauthorized	SG.<w22>.<w43>
brevo: {S}	xkeysib-<h64>-<l16>
sentry-cli: {S}	sntryu_<h64>
settlemint {S}	sm_pat_<a16>
shop: {S}	shpat_<h32>
bundle: {S}	https://<h8>:<h8>@gems.contribsys.com/
slack: {S} invalid_auth	xoxb-<d12>-<d12>-<a24>
slack: {S} not_allowed	xapp-1-A<u10>-<d13>-<h64>
slack: {S} token_expired	xoxe.xoxp-1-<u163>
slack: {S} account_inactive	xoxp-<d11>-<d11>-<d12>-<h32>
payment: {S} no such key	sk_live_<a24>
payment: {S} restricted	rk_test_<a99>
bot {S} unauthorized	<d10>:AA<w33>
sms: {S}	SK<h32>
timeline {S}	<d18>-<a40>
vault: {S} permission denied	hvs.<w95>
vault: {S} permission denied	s.<a24>
yc: {S}	AQVN<w37>
yc: {S} expired	t1.<w60>.<w86>
nim: {S} forbidden	nvapi-<w64>
kubeadm: {S} unknown	<l6>.<l16>
cf: {S} bad	v4pub_<w40>
tailnet: {S} invalid	tskey-auth-<a12>CNTRL-<a32>
buildkite: {S}	bkua_<h40>
circle: {S}	CCIPAT_<a22>_<h40>
azdo: {S} 203	<l76>AZDO<a4>
functions: {S}	<w44>AzFu<w8>==
search: {S}	<w42>AzSe<w6>
"""

PLACES = r"""
spring.datasource.password={S}	<p12>
spring:\n  datasource:\n    username: app\n    password: {S}\n	<p14>
spring.redis.password = {S}	<a16>
export PGPASSWORD='{S}'	<p12>
PGPASSWORD={S} psql -h db -U app	<a14>
APP_KEY=base64:{S}	<b43>=
SECRET_KEY = '{S}'	<p50>
secret_key_base: {S}	<h64>
define('DB_PASSWORD', '{S}');	<p14>
  'password' => '{S}',	<p14>
  :password => "{S}",	<a14>
Config{user='app', password='{S}', host='db'}	<a14>
DataSource(url=jdbc:x, username=app, password={S}, pool=10)	<a14>
&{Host:db Port:5432 User:app Password:{S} SSL:true}	<a14>
level=debug msg="dial" user=app password={S} host=db	<a14>
[database]\nuser = app\npass = {S}	<a14>
<Connection user="app" password="{S}"/>	<p12>
<add key="ClearTextPassword" value="{S}" />	<a14>
<server><id>nexus</id><username>ci</username><password>{S}</password></server>	<p12>
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="app" password="{S}";	<a16>
ssl.keystore.password={S}	<a12>
ansible_become_password: {S}	<p12>
  + password = "{S}"	<a16>
administrator_login_password = "{S}"	<a16>
variable db_pass: default = "{S}"	<a16>
{"level":"error","config":{"smtp":{"pass":"{S}"}}}	<a14>
{"log":"{\"password\":\"{S}\"}\n","stream":"stdout"}	<a14>
{"log":"{\\\"client_secret\\\":\\\"{S}\\\"}","stream":"stderr"}	<w32>
body: {\"grant_type\":\"password\",\"username\":\"a\",\"password\":\"{S}\"}	<p12>
  "identitytoken": "{S}"	<uuid>
{"auths":{"https://index.docker.io/v1/":{"auth":"{S}"}}}	<b40>
.dockercfg: {"quay.example":{"auth":"{S}","email":""}}	<b30>==
//registry.npmjs.example/:_authToken={S}	<uuid>
//registry.example/:_password={S}	<b24>
npmAuthToken: "{S}"	<w40>
machine git.example\nlogin ci\npassword {S}	<a20>
[pypi]\nusername = __token__\npassword = {S}	<w60>
:rubygems_api_key: {S}	<h40>
[registry]\ntoken = "{S}"	<a35>
"http-basic": {"repo.example": {"username": "ci", "password": "{S}"}}	<a20>
index-url = https://ci:{S}@pypi.example/simple	<a20>
git remote set-url origin https://x-access-token:{S}@git.example/a/b.git	<a40>
fatal: unable to access 'https://oauth2:{S}@gitlab.example/a.git/': 403	<a24>
fatal: unable to access 'https://{S}:x-oauth-basic@git.example/a.git/': 403	<h40>
DATABASE_URL=mysql2://root:{S}@10.0.0.4/app	<a12>
dial amqps://svc:{S}@mq.example:5671/prod: timeout	<a12>
mongodb+srv://app:{S}@cluster0.example.net/?retryWrites=true	<a16>
ftp://deploy:{S}@files.example/	<a10>
redis://default:{S}@redis-master:6379	<a32>
s3://key:{S}@bucket/prefix	<b40>
cloudinary://<d15>:{S}@demo	<w27>
clickhouse://default:{S}@ch:9000/default	<a12>
https://user:{S}%40x@proxy.example:3128	<a12>
proxy http://corp%5Cann:{S}@proxy:8080 refused	<a12>
sqlserver://sa:{S}@db:1433?database=app	<a12>
postgresql+psycopg://app:{S}@db/app	<a16>
jdbc:postgresql://db:5432/app?user=app&password={S}&ssl=true	<a16>
jdbc:sqlserver://db:1433;databaseName=app;user=sa;password={S};encrypt=true	<a16>
jdbc:oracle:thin:app/{S}@//db:1521/ORCL	<a12>
jdbc:mysql://app:{S}@db/app	<a12>
Driver={ODBC Driver 18};Server=db;UID=sa;PWD={S};Encrypt=yes	<a14>
Endpoint=sb://bus.servicebus.windows.net/;SharedAccessKeyName=root;SharedAccessKey={S}	<b43>=
DefaultEndpointsProtocol=https;AccountName=a;AccountKey={S};EndpointSuffix=core.windows.net	<b86>==
AccountEndpoint=https://c.documents.azure.com:443/;AccountKey={S};	<b86>==
Endpoint=https://s.service.signalr.net;AccessKey={S};Version=1.0;	<b43>=
cache.redis.cache.windows.net:6380,password={S},ssl=True,abortConnect=False	<b43>=
HostName=h.azure-devices.net;DeviceId=d;SharedAccessKey={S}	<b43>=
https://a.blob.core.windows.net/c/x?sv=2022-11-02&se=2026-01-01&sr=b&sp=r&sig={S}	<a40>%3D
SharedAccessSignature sr=h&sig={S}&se=1700000000	<a40>%3D
PUT https://b.s3.amazonaws.com/k?X-Amz-Credential=x&X-Amz-Signature={S} 403	<h64>
aws_session_token = {S}	IQoJb3JpZ2luX2VjE<b180>==
aws configure set aws_secret_access_key {S}	<b40>
"SecretAccessKey": "{S}",	<b40>
"SessionToken": "{S}",	FwoGZXIvYXdzE<b160>
POST https://hooks.slack.com/services/{S} 404	T<u8>/B<u10>/<a24>
POST https://discord.com/api/webhooks/<d18>/{S} 401	<w68>
POST https://outlook.webhook.office.com/webhookb2/{S} 400	<uuid>@<uuid>/IncomingWebhook/<h32>/<uuid>
POST https://chat.googleapis.com/v1/spaces/AAA/messages?key=x&token={S}	<w43>
POST https://api.telegram.org/bot{S}/sendMessage 401	<d10>:AA<w33>
POST https://hooks.zapier.com/hooks/catch/{S}/ 410	<d8>/<l7>
GET /v1/search?api_key={S}&q=x 403	<l32>
GET /cb?code=x&client_secret={S}	<w32>
username=ann&password={S}&remember=1	<a12>
Content-Disposition: form-data; name="password"\r\n\r\n{S}\r\n--x	<a12>
> Authorization: Basic {S}	<b24>=
> Authorization: token {S}	<h40>
> authorization: ApiKey {S}	<b40>==
Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/eu/s3/aws4_request, SignedHeaders=host, Signature={S}	<h64>
Authorization: {S}	<a40>
Proxy-Authorization: Basic {S}	<b20>
headers={'Authorization': 'Bearer {S}', 'Accept': '*/*'}	<w40>
* [HTTP/2] [1] [authorization: Bearer {S}]	<w40>
map[Accept:[*/*] Authorization:[Bearer {S}] User-Agent:[x]]	<w40>
authorization=[Bearer {S}], accept=[x]	<w40>
X-Vault-Token: {S}	<w26>
X-Auth-Token: {S}	<h32>
X-Api-Key: {S}	<l32>
Ocp-Apim-Subscription-Key: {S}	<h32>
apikey: {S}	<h32>
X-Amz-Security-Token: {S}	<b120>
Cookie: _ga=GA1.2; JSESSIONID={S}	<H32>
Set-Cookie: sid={S}; Path=/; HttpOnly	<w43>
"cookie": "connect.sid=s%3A{S}"	<w50>
curl -sS -u "ci:{S}" https://nexus.example	<p12>
curl --user ci:{S} https://nexus.example	<a12>
curl -H "X-Auth-Token: {S}" https://x	<h32>
curl -H 'Authorization: Bearer {S}' https://x	<a32>
wget --http-user=a --http-password={S} https://x	<a12>
docker login -u ci --password {S} registry.example	<a16>
az login --service-principal -u <uuid> -p {S} --tenant <uuid>	<w34>
mysqldump -u root -p{S} app > x.sql	<a12>
mysql --password={S} -e 'select 1'	<a12>
redis-cli -h cache -a {S} ping	<a24>
sshpass -p '{S}' ssh host	<p12>
openssl pkcs12 -in a.p12 -passin pass:{S} -nodes	<a12>
keytool -list -keystore a.jks -storepass {S}	<a10>
java -Djavax.net.ssl.keyStorePassword={S} -jar app.jar	<a10>
./gradlew publish -PsigningPassword={S}	<a14>
mvn deploy -Dsonar.login={S}	<h40>
sonar-scanner -Dsonar.token={S}	<h40>
helm upgrade app ./c --set db.password={S},replicas=2	<a14>
helm repo add x https://x --username ci --password {S}	<a14>
kubectl create secret generic db --from-literal=password={S}	<a14>
kubectl create secret docker-registry r --docker-password={S} --docker-username=ci	<a20>
docker build --build-arg NPM_TOKEN={S} .	<w36>
docker run -e API_TOKEN={S} app	<w36>
kubeadm join 10.0.0.1:6443 --token {S} --discovery-token-ca-cert-hash sha256:<h64>	<l6>.<l16>
mongosh --host db -u root -p {S} --eval x	<a12>
ldapsearch -D cn=admin -w {S}	<a12>
smbclient //fs/share -U ann%{S}	<a12>
lftp -u deploy,{S} sftp://files	<a12>
svn co --username ci --password {S} https://svn	<a12>
zip -P {S} out.zip x	<a12>
7z x -p{S} a.7z	<a12>
echo {S} | docker login -u ci --password-stdin	<a24>
echo "{S}" | base64 -d > key.json; export GOOGLE_CREDENTIALS	ewogICJ0eXBlIjogInNlcnZpY2VfYWNjb3VudCIs<b120>
::add-mask::{S}	<a24>
::set-output name=token::{S}	<a24>
env:\n  DEPLOY_TOKEN: {S}\n  NODE_ENV: ci	<a24>
- name: API_SECRET\n  value: "{S}"	<a24>
    Environment:\n      DB_PASSWORD:  {S}\n      PORT: 80	<p12>
apiVersion: v1\nkind: Secret\nstringData:\n  url: {S}\n	<a20>
apiVersion: v1\nkind: Secret\ndata:\n  tls.key: {S}\n	<b80>
{"apiVersion":"v1","kind":"Secret","data":{"user":"{S}"}}	<b24>
last-applied-configuration: {\"apiVersion\":\"v1\",\"data\":{\"user\":\"{S}\"},\"kind\":\"Secret\"}	<b24>
users:\n- name: admin\n  user:\n    client-key-data: {S}	LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVkt<b120>
users:\n- name: ci\n  user:\n    token: {S}	eyJ<a33>.<w120>.<w86>
CREATE USER app WITH ENCRYPTED PASSWORD '{S}';	<a12>
ALTER ROLE app PASSWORD '{S}'	<a12>
CREATE USER 'a'@'%' IDENTIFIED WITH mysql_native_password BY '{S}';	<a12>
SET PASSWORD FOR 'root'@'localhost' = '{S}';	<a12>
Using generated security password: {S}	<uuid>
A temporary password is generated for root@localhost: {S}	<p12>
argocd initial admin password: {S}	<w16>
The password for user elastic is {S}	<w20>
password changed to "{S}" for ann	<p12>
PASSWORD elastic = {S}	<a20>
Please use the following password to proceed to installation:\n\n{S}\n	<h32>
"private_key": "-----BEGIN PRIVATE KEY-----\n{S}\n-----END PRIVATE KEY-----\n"	<b64>\\n<b60>==
key: -----BEGIN EC PRIVATE KEY----- {S} -----END EC PRIVATE KEY-----	<b64> <b60>==
-----BEGIN ENCRYPTED PRIVATE KEY-----\n{S}\n-----END ENCRYPTED PRIVATE KEY-----	<b64>\n<b60>==
-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{S}\n-----END PGP PRIVATE KEY BLOCK-----	<b64>\n=<b4>
-----BEGIN OPENSSH PRIVATE KEY-----\n{S}	<b70>\n<b70>
PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\n{S}\nPrivate-MAC: x	<b64>
[Interface]\nPrivateKey = {S}\nAddress = 10.0.0.2/32	<b43>=
{"kty":"EC","crv":"P-256","x":"<w43>","y":"<w43>","d":"{S}"}	<w43>
root:{S}:19000:0:99999:7:::	$6$<a8>$<a86>
ci:{S}	$apr1$<a8>$<a22>
$ANSIBLE_VAULT;1.1;AES256\n{S}	<h80>\n<h80>
heroku api: HEROKU_AUTH={S}	<uuid>
SNYK_TOKEN={S}	<uuid>
FASTLY_API={S}	<w32>
datadog_app: "{S}"	<h40>
okta.api => '{S}'	00<w40>
TWITCH_CLIENT={S}	<l30>
ALGOLIA_ADMIN={S}	<h32>
cloudflare_global = "{S}"	<h37>
BUNDLE_GEMS__CONTRIBSYS__COM={S}	<h8>:<h8>
CODECOV={S}	<uuid>
PIN_HASH_PEPPER={S}	<a32>
ENCRYPTION_KEY={S}	<h64>
NEXTAUTH_SECRET={S}	<b43>=
SESSION_SECRET: "{S}"	<w32>
JWT_SIGNING_KEY={S}	<b43>=
access_key = {S}	<u20>
secretKey: {S}	<a40>
LICENSE_KEY={S}	<u5>-<u5>-<u5>-<u5>
"refresh_token":"{S}"	<w64>
"access_token" : "{S}"	<w64>
"id_token": "{S}"	eyJ<a33>.eyJ<w120>.<w86>
"accessToken":"{S}","expiresIn":3600	<w64>
webhook_secret: {S}	<h40>
hmac key={S} mismatch, hmac_secret={S}	<h40>
otpauth://totp/x?secret={S}&issuer=y	<u32>
"""

LOOK_ALIKES = r"""
image: ghcr.example/shop/web@sha256:<h64>
Digest: sha256:<h64>
sha512-<b86>==
"integrity": "sha512-<b86>==",
github.com/pkg/errors v0.9.1 h1:<b43>=
github.com/pkg/errors v0.9.1/go.mod h1:<b43>=
resolved "https://registry.yarnpkg.com/left-pad/-/left-pad-1.3.0.tgz#<h40>"
    --hash=sha256:<h64> \
HEAD is now at <h40> fix the cart
commit <h40>
revision: <h40>
GITHUB_SHA=<h40>
Merge <h40> into <h40>
checkout --progress --force <h40>
##[debug]Node: <uuid>
uid: <uuid>
X-Request-Id: <uuid>
x-amz-request-id: <u16>
x-amz-id-2: <b75>=
traceparent: 00-<h32>-<h16>-01
trace_id=<h32> span_id=<h16>
request_id=<uuid> status=500
etag: W/"<h32>"
ETag: "<h32>"
checksum: <h64>
containerd://<h64>
docker://<h64> exited 137
Layer <h12>: Pull complete
 ---> <h12>
Removing intermediate container <h12>
writing image sha256:<h64> done
pod-template-hash=<l10>
pod/web-<l10>-<l5> evicted
default-token-<l5> (ro)
/var/run/secrets/kubernetes.io/serviceaccount from kube-api-access-<l5> (ro)
MountVolume.SetUp failed for volume "kube-api-access-<l5>" : object "shop"/"kube-root-ca.crt" not registered
secret "db-credentials" not found
Error: couldn't find key DB_PASSWORD in Secret shop/db-main
      DB_PASSWORD:  <set to the key 'password' in secret 'db'>  Optional: false
valueFrom:\n  secretKeyRef:\n    name: db\n    key: password
imagePullSecrets:\n- name: regcred-2
secretName: web-tls-2024
kubernetes.io/service-account-token
secret/db-credentials created
secrets is forbidden: User "system:serviceaccount:ci:deploy" cannot list resource "secrets" in API group ""
kubernetes_secret.app: Modifying... [id=shop/app-v2]
aws_secretsmanager_secret.db: Refreshing state... [id=arn:aws:secretsmanager:eu-west-1:<d12>:secret:db-<a6>]
random_password.db: Creation complete after 0s [id=none]
password = (sensitive value)
+ password = (known after apply)
+ secret_key = <sensitive>
DB_PASSWORD=${DB_PASSWORD}
DB_PASSWORD: ${{ secrets.DB_PASSWORD }}
password: {{ .Values.db.password | quote }}
password: "{{ vault_db_password }}"
password: !vault |
password=%env(DB_PASSWORD)%
token=$(gcloud auth print-access-token)
token: $TOKEN
API_KEY=***
Authorization: Bearer ***
Authorization: Bearer ${TOKEN}
Authorization: Bearer <token>
https://ci:***@git.example/x.git
https://${USER}:${TOKEN}@git.example/x.git
https://x-access-token:***@github.com/a/b
password: <redacted>
password=[FILTERED]
api_key: your-api-key-here
token: changeme
client_secret: xxxxxxxx
DB_PASSWORD_FILE=/run/secrets/db_password
POSTGRES_PASSWORD_FILE: /run/secrets/pg
--token-auth-file=/etc/kubernetes/tokens.csv
--service-account-key-file=/etc/kubernetes/pki/sa.pub
--tls-private-key-file=/var/lib/kubelet/pki/kubelet.key
ssl_certificate_key /etc/nginx/certs/tls.key;
tokenPath: /var/run/secrets/eks.amazonaws.com/serviceaccount/token
private_key_path = "~/.ssh/id_ed25519"
FATAL: password authentication failed for user "app"
ERROR 1045 (28000): Access denied for user 'app'@'10.0.0.1' (using password: YES)
Password must contain at least 8 characters
sudo: a password is required
Enter password:
fatal: could not read Password for 'https://git.example': terminal prompts disabled
invalid password for user 42
passwordless login enabled
Error: token expired at 2026-01-02T03:04:05Z
error: invalid token: signature mismatch
error validating token: token contains an invalid number of segments
SyntaxError: Unexpected token < in JSON at position 0
SyntaxError: Unexpected token: punc (})
parse error near token 'endif' at line 42
token_type: bearer, expires_in: 3600
max_tokens=4096 completion_tokens: 128
prompt_tokens=811 total_tokens=1024
tokenizer: cl100k_base
token bucket: capacity=100 refill=10
"tokens": 1532
no API key provided
API key: missing
missing secret: DB_PASSWORD
secret key not configured
csrf_token: invalid for request 42
auth: basic realm="registry"
WWW-Authenticate: Bearer realm="https://auth.docker.io/token",service="registry.docker.io"
--authorization-mode=Node,RBAC
authorization: RBAC: access denied
token_endpoint: https://login.example/oauth2/v2.0/token
tokenreviews.authentication.k8s.io is forbidden
primary key: order_id
foreign_key=orders_customer_id_fk2
sort_key=created_at
partition_key: tenant-42
routing_key=orders.created.v2
s3 key=logs/2026/01/part-00042.parquet
Cache restored from key: Linux-npm-<h64>
key: Linux-build-<h64>
restore-keys: Linux-build-
Cache hit for: node-cache-Linux-x64-npm-<h64>
kms_key_id = "arn:aws:kms:eu-west-1:<d12>:key/<uuid>"
KeyId: <uuid>
signing key fingerprint: SHA256:<b43>
ECDSA key fingerprint is SHA256:<b43>.
gpg: using RSA key <H40>
gpg: key <H16>: public key "Release" imported
ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB<b200> ci@example
github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI<b43>
-----BEGIN CERTIFICATE-----\n<b64>\n<b64>\n-----END CERTIFICATE-----
-----BEGIN PUBLIC KEY-----\n<b64>\n-----END PUBLIC KEY-----
certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t<b120>
caBundle: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t<b80>
kind: ConfigMap\ndata:\n  blob: <b60>
checksum/secret: <h64>
serial=<H32>
subject key identifier: <H40>
docker run -p 8080:80 web
docker run -p 127.0.0.1:5432:5432 -u 1000:1000 db
mkdir -p /srv/app/releases/20260101120000
pytest -p no:cacheprovider -q
ssh -p 2222 deploy@host uptime
psql -h db -p 5432 -U app -w
scp -P 22 a.tgz host:/srv/x
curl -s -o /dev/null -w '%{http_code}' https://x
gunicorn -w 4 -b 0.0.0.0:8000 app:create_app
mvn -B -Pprod,release -pl services/cart -am verify
sudo -u postgres psql -c 'select 1'
git push -u origin feature/login2
npm run build -w packages/app1
kubectl logs -p web-<l10>-<l5> -n shop
ansible-playbook -u deploy -i hosts site.yml
docker exec -u www-data app1 ls
git@github.com:shop/cart.git
ssh://git@git.example:22/shop/cart.git
https://unpkg.com/react@18.2.0/umd/react.js
http://web:8080/users/ann@example.com
postgres://db.internal:5432/app
postgres://app@db.internal:5432/app
redis://cache:6379/0
amqp://guest@mq:5672
jdbc:postgresql://db:5432/app?sslmode=require
http://[::1]:9090/-/healthy
deno.land/std@0.200.0/http/server.ts:12:3
npm ERR! 404 '@shop/ui@^2.1.0' is not in this registry
Cookie: theme=dark
Set-Cookie: lang=en; Path=/
session closed: sessions=42
sentry release: <h40> finalized
sentry.release=shop@1.4.2
codecov: commit <h40> uploaded
datadog.trace_id: <d19>
travis build: <d9>
artifactory: libs-release-local/com/shop/cart/1.2.3/cart-1.2.3.jar
heroku release: v45 deployed by ann@example.com
linear: PLAT-1234 moved
facebook/react: 18.2.0
discord channel <d18> notified
confluent-kafka==2.3.0
cloudflare ray id: <h16>-FRA
tests: pass: 41 fail: 0
bypass=true compass=north
passed=412 failed=3
encryption: aes-256-gcm
enable_password_auth: true
passwordPolicy: strict
PasswordAuthentication no
credentials: same-origin
credentialsSecret: aws-creds
credential helper: osxkeychain
auth_method = scram-sha-256
private_key: null
api_key=None secret=None
"password": ""
PASSWORD=
salt rounds: 12
license: Apache-2.0
License key: trial
Go build id: "<a20>/<a20>/<a20>/<a20>"
BuildID[sha1]=<h40>
ImportError: /usr/lib/libssl.so.3: undefined symbol: EVP_PKEY_get_bn_param
data: iVBORw0KGgoAAAANSUhEUgAA<b80>
job <uuid> finished
Step 4/9 : ARG NPM_TOKEN
 ARG with secret default: ENV API_TOKEN
#8 [internal] load metadata for docker.io/library/node:20-alpine@sha256:<h64>
RUN --mount=type=secret,id=npmrc,target=/root/.npmrc npm ci
error: secret npmrc: not found
{"token":{"type":"Punctuator","value":"{"}}
Token(type=IDENT, literal="x1")
SecretsManager: GetSecretValue AccessDeniedException for db-prod-2
vault: path secret/data/shop/db not found
resource "aws_iam_access_key" "ci" will be created
mongo: SCRAM-SHA-256 authentication failed, mechanism=SCRAM-SHA-256
kafka: SASL mechanism: PLAIN
runner token registered for shop/cart-12
0x<h40>
<h32>  dist/app-1.2.3.tar.gz
"""


def build(recipe: str, seed: int) -> str:
    """The recipe with its random parts filled in, the same for the same seed."""
    dice = random.Random(seed)  # noqa: S311  no secret of anybody

    def part(match: re.Match[str]) -> str:
        if match.group(3):
            return "-".join("".join(dice.choices(_ALPHABETS["h"], k=n)) for n in (8, 4, 4, 4, 12))
        text = dice.choices(_ALPHABETS[match.group(1)], k=int(match.group(2)))
        if len(text) > 2:  # as nearly every real one, with a digit and a letter in it
            text[1], text[2] = dice.choice("23456789"), {"d": "4", "u": "Q", "H": "B"}.get(match.group(1), "b")
        return "".join(text)

    return _PART.sub(part, recipe)


def secret_lines(table: str) -> list[tuple[str, str]]:
    """(template with {S}, secret) of each row."""
    rows = [row.replace("\\n", "\n").replace("\\r", "\r").split("\t") for row in table.strip("\n").split("\n")]
    return [
        (build(template, number), build(recipe, 1000 + number)) for number, (template, recipe) in enumerate(rows)
    ]


def clean_lines() -> list[str]:
    return [build(row.replace("\\n", "\n"), n) for n, row in enumerate(LOOK_ALIKES.strip("\n").split("\n"))]
