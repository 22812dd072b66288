"""Amazon Web Services as far as we ask them: SQS and Secrets Manager, over httpx with signatures of our own.

Amazon's libraries (botocore, and all that stand on it) need python-dateutil below 3, and kubernetes' client 3 or newer:
the two cannot be installed together. Both services speak JSON over one POST, so what is left to do is to sign it.
"""

from remediation.aws.client import AwsClient, region_of
from remediation.aws.credentials import CredentialChain

__all__ = ["AwsClient", "CredentialChain", "region_of"]
