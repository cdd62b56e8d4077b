import re

import pytest

from async_reply.exceptions import OperationFailed


@pytest.mark.parametrize("status", sorted(OperationFailed.RESERVED | {200, 500}))
def test_operation_failed__other_statuses_are_refused(status: int) -> None:
    with pytest.raises(ValueError, match=re.escape(str(status))):
        OperationFailed("no", status_code=status)
